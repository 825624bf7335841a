"""Runs a static AArch64 program of Linux in the Unicorn emulator: what a program that computes and prints needs.

python tests/kernels/aarch64.py PROGRAM
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

from unicorn import UC_ARCH_ARM64, UC_HOOK_INTR, UC_MODE_ARM, Uc
from unicorn.arm64_const import (
    UC_ARM64_REG_CPACR_EL1,
    UC_ARM64_REG_SP,
    UC_ARM64_REG_X0,
    UC_ARM64_REG_X1,
    UC_ARM64_REG_X2,
    UC_ARM64_REG_X8,
)

PAGE = 0x1000
STACK, STACK_SIZE = 0x7000_0000_0000, 8 << 20
HEAP = 0x6000_0000_0000
NO_SUCH_CALL, NO_MEMORY, NOT_A_TERMINAL = -38, -12, -25
LOAD, PROGRAM_HEADERS, HEADER_SIZE, HEADER_COUNT, PAGE_SIZE, RANDOM = 1, 3, 4, 5, 6, 25


class Machine:
    """A process: its memory, what it has printed, and its exit status once it has ended."""

    def __init__(self, program: bytes) -> None:
        self.cpu = Uc(UC_ARCH_ARM64, UC_MODE_ARM)
        self.cpu.reg_write(UC_ARM64_REG_CPACR_EL1, 3 << 20)  # vector registers may be used
        self.printed = bytearray()
        self.status: int | None = None
        self._heap = HEAP
        self.calls = {
            29: lambda *_: NOT_A_TERMINAL,  # ioctl
            64: lambda _, at, n: self._write(at, n),
            66: self._writev,
            93: self._exit,
            94: self._exit,  # exit_group
            96: lambda *_: 1,  # set_tid_address
            214: lambda *_: 0,  # brk: never more than there is, so that memory is asked for by mmap
            215: lambda *_: 0,  # munmap: memory is not given back
            216: lambda *_: NO_MEMORY,  # mremap: the caller then copies
            222: lambda _, n, __: self._map(n),
            226: lambda *_: 0,  # mprotect
            233: lambda *_: 0,  # madvise
        }
        self.entry = self._load(program)
        self.cpu.hook_add(UC_HOOK_INTR, self._called)

    def run(self) -> int:
        self.cpu.emu_start(self.entry, 0)
        assert self.status is not None
        return self.status

    def _load(self, program: bytes) -> int:
        """Map the segments and the stack. Returns where the program begins."""
        kind, machine = struct.unpack_from("<HH", program, 16)
        entry, headers = struct.unpack_from("<QQ", program, 24)
        size, count = struct.unpack_from("<HH", program, 54)
        if (kind, machine) != (2, 183):
            raise ValueError("not a static AArch64 program")
        at = 0
        pages: set[int] = set()
        for i in range(count):
            kind, _, offset, address, _, stored, needed, _ = struct.unpack_from(
                "<IIQQQQQQ", program, headers + i * size
            )
            if kind != LOAD:
                continue
            if offset <= headers < offset + stored:
                at = address + headers - offset
            for page in range(address // PAGE, -(-(address + needed) // PAGE)):
                if page not in pages:
                    self.cpu.mem_map(page * PAGE, PAGE)
                    pages.add(page)
            self.cpu.mem_write(address, program[offset : offset + stored])
        self._stack({PROGRAM_HEADERS: at, HEADER_SIZE: size, HEADER_COUNT: count, PAGE_SIZE: PAGE})
        return int(entry)

    def _stack(self, facts: dict[int, int]) -> None:
        """No arguments, no environment, and what the C library wants to know of the program."""
        self.cpu.mem_map(STACK, STACK_SIZE)
        top = STACK + STACK_SIZE - PAGE  # zeros: as random as needed
        words = [0, 0, 0, *(w for fact in (facts | {RANDOM: top}).items() for w in fact), 0, 0]
        self.cpu.mem_write(top - PAGE, struct.pack(f"<{len(words)}Q", *words))
        self.cpu.reg_write(UC_ARM64_REG_SP, top - PAGE)

    def _called(self, cpu: Uc, number: int, _: object) -> None:
        call = self.calls.get(int(cpu.reg_read(UC_ARM64_REG_X8)), lambda *_: NO_SUCH_CALL)
        given = (int(cpu.reg_read(r)) for r in (UC_ARM64_REG_X0, UC_ARM64_REG_X1, UC_ARM64_REG_X2))
        if number != 2:  # anything but a call of the system: an instruction that is not there
            raise RuntimeError(f"exception {number}")
        cpu.reg_write(UC_ARM64_REG_X0, call(*given) & (2**64 - 1))

    def _write(self, at: int, n: int) -> int:
        self.printed += self.cpu.mem_read(at, n)
        return n

    def _writev(self, _: int, vectors: int, count: int) -> int:
        words = struct.unpack(f"<{2 * count}Q", self.cpu.mem_read(vectors, 16 * count))
        return sum(self._write(at, n) for at, n in zip(words[::2], words[1::2], strict=True))

    def _map(self, n: int) -> int:
        at, n = self._heap, -(-n // PAGE) * PAGE
        self.cpu.mem_map(at, n)
        self._heap += n + PAGE
        return at

    def _exit(self, status: int, *_: int) -> int:
        self.status = status
        self.cpu.emu_stop()
        return 0


if __name__ == "__main__":
    process = Machine(Path(sys.argv[1]).read_bytes())
    found = process.run()
    sys.stdout.write(process.printed.decode())
    sys.exit(found)
