// Tile instructions on a processor without them: each raises SIGILL, and the handler carries it out on soft_tiles.h. So
// the object that is shipped runs, with its own loads, stores and order, where no such processor is at hand.
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

#include "soft_tiles.h"

namespace {

struct sigaction before;

// One VEX-encoded tile instruction: C4, two bytes of prefix, opcode, ModRM and, for memory, SIB and displacement.
struct Instruction {
  int opcode, prefix, reg, rm, vvvv, length = 5;
  bool memory;
  char* address = nullptr;
  int64_t stride = 0;  // the index register by its scale: the rows of a tile are that far apart
};

int64_t Register(const ucontext_t& context, int number) {
  static constexpr int kOrder[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                     REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  return context.uc_mcontext.gregs[kOrder[number]];
}

int64_t Displacement(const uint8_t* at, int bytes) {
  int8_t small;
  int32_t wide;
  if (bytes == 1) return memcpy(&small, at, 1), small;
  return memcpy(&wide, at, 4), wide;
}

bool Decode(const ucontext_t& context, const uint8_t* code, Instruction* found) {
  if (code[0] != 0xc4 || (code[1] & 0x1f) != 2 || (code[2] & 0x84) != 0) return false;  // map 0F 38, W0, 128 bits
  const bool x = (code[1] & 0x40) == 0, b = (code[1] & 0x20) == 0;
  Instruction i;
  i.vvvv = ~(code[2] >> 3) & 0xf;
  i.prefix = code[2] & 3;
  i.opcode = code[3];
  const int mode = code[4] >> 6;
  i.reg = (code[4] >> 3) & 7;
  i.rm = code[4] & 7;
  i.memory = mode != 3;
  if (i.memory) {
    int64_t base = 0;
    int displaced = mode == 1 ? 1 : mode == 2 ? 4 : 0;
    if (i.rm == 4) {
      const int sib = code[5], index = ((sib >> 3) & 7) | (x ? 8 : 0);
      i.length = 6;
      if (index != 4) i.stride = Register(context, index) << (sib >> 6);
      if (mode == 0 && (sib & 7) == 5) return false;
      base = Register(context, (sib & 7) | (b ? 8 : 0));
    } else if (mode == 0 && i.rm == 5) {
      displaced = 4;
      base = reinterpret_cast<int64_t>(code) + i.length + displaced;
    } else {
      base = Register(context, i.rm | (b ? 8 : 0));
    }
    if (displaced > 0) base += Displacement(code + i.length, displaced);
    i.length += displaced;
    i.address = reinterpret_cast<char*>(base);
  }
  *found = i;
  return true;
}

bool CarryOut(const Instruction& i) {
  enum { kNo, k66, kF3, kF2 };
  soft::Tiles& tiles = soft::tiles();
  if (i.opcode == 0x49 && i.prefix == kNo && !i.memory) {
    tiles.Configure({});
  } else if (i.opcode == 0x49 && i.prefix == kNo) {
    rrm::TileShapes shapes;
    memcpy(&shapes, i.address, sizeof shapes);
    tiles.Configure(shapes);
  } else if (i.opcode == 0x49 && i.prefix == k66 && i.memory) {
    memcpy(i.address, &tiles.shapes, sizeof tiles.shapes);
  } else if (i.opcode == 0x4b && i.prefix == kF2) {
    tiles.Load(i.reg, i.address, i.stride);
  } else if (i.opcode == 0x4b && i.prefix == kF3) {
    tiles.Store(i.reg, i.address, i.stride);
  } else if (i.opcode == 0x5c && i.prefix == kF3 && !i.memory) {
    tiles.Multiply(i.reg, i.rm, i.vvvv);
  } else {
    return false;
  }
  return true;
}

int carried_out = 0;

void Handle(int, siginfo_t*, void* data) {
  auto* context = static_cast<ucontext_t*>(data);
  const auto* code = reinterpret_cast<const uint8_t*>(context->uc_mcontext.gregs[REG_RIP]);
  Instruction instruction;
  if (Decode(*context, code, &instruction) && CarryOut(instruction)) {
    context->uc_mcontext.gregs[REG_RIP] += instruction.length;
    ++carried_out;
  } else {
    sigaction(SIGILL, &before, nullptr);  // not ours: it comes again, to who was there before
  }
}

}  // namespace

extern "C" {

void trap_tiles() {
  struct sigaction ours{};
  ours.sa_sigaction = Handle;
  ours.sa_flags = SA_SIGINFO;
  sigaction(SIGILL, &ours, &before);
}

// Returns how many instructions were carried out.
int untrap_tiles() {
  sigaction(SIGILL, &before, nullptr);
  return carried_out;
}
}
