"""When the amx level is offered, and what its object and its table hold."""

import ctypes as ct
import re
import shutil
import subprocess

import emulations
import kernel_api
import pytest

pytestmark = pytest.mark.skipif("amx" not in kernel_api.LEVELS, reason="amx is a level of x86-64")

# Bits of the words, in the order of CpuWords, and the feature bits of levels.h.
WORDS = {
    "avx2": ("extended_b", 5, 0),
    "fma": ("basic_c", 12, 1),
    "avx512f": ("extended_b", 16, 2),
    "avx512bw": ("extended_b", 30, 3),
    "avx512vl": ("extended_b", 31, 4),
    "avx512dq": ("extended_b", 17, 5),
    "avx512_bf16": ("more_a", 5, 7),
    "amx_tile": ("extended_d", 24, 8),
    "amx_bf16": ("extended_d", 22, 9),
}
TILES = {"amx_tile", "amx_bf16"}
SAVED_YMM, SAVED_ZMM, SAVED_TILES = 0x06, 0xE0, 0x60000
SAVED_ALL = SAVED_YMM | SAVED_ZMM | SAVED_TILES


class CpuWords(ct.Structure):
    _fields_ = [(name, ct.c_uint32) for name in ("basic_c", "extended_b", "extended_d", "more_a")]
    _fields_ += [("saved", ct.c_uint64)]


def features(
    library: kernel_api.Library, names: set[str], saved: int = SAVED_ALL, allowed: bool = True
) -> tuple[set[str], int]:
    """What a machine with these bits has, and how often it asked for the permission to use tiles."""
    words, asked = CpuWords(saved=saved), ct.c_int()
    for name in names:
        word, bit, _ = WORDS[name]
        setattr(words, word, getattr(words, word) | 1 << bit)
    found = library.lib.features_of(ct.byref(words), ct.c_bool(allowed), ct.byref(asked))
    return {name for name, (_, _, bit) in WORDS.items() if found >> bit & 1}, asked.value


def test_features_need_bits_registers_and_permission(library: kernel_api.Library) -> None:
    every = set(WORDS)
    assert features(library, every) == (every, 1)
    assert features(library, every, allowed=False) == (every - TILES, 1)
    for missing in (0x20000, 0x40000, SAVED_TILES):
        assert features(library, every, SAVED_ALL & ~missing) == (every - TILES, 0)
    assert features(library, every, SAVED_YMM | SAVED_TILES) == ({"avx2", "fma"}, 0)
    assert features(library, every, SAVED_TILES) == (set(), 0)
    for missing in WORDS:
        found, asked = features(library, every - {missing})
        without_tiles = missing in TILES | {"avx512_bf16"}
        assert found == every - {missing} - (TILES if without_tiles else set())
        assert asked == (0 if without_tiles else 1)


@pytest.mark.parametrize("missing", [*WORDS, None])
def test_the_level_is_first_where_every_feature_is_there(missing: str | None) -> None:
    emulated = emulations.library("amx-emulated")
    every = emulated.lib.get_features()
    try:
        emulated.lib.set_features(every & ~(1 << WORDS[missing][2]) if missing else every)
        if missing:
            assert "amx" not in emulated.names()
            with pytest.raises(KeyError):
                emulated.table("amx")
        else:
            assert emulated.names() == ["amx", "avx512", "avx2", "portable"]
            assert emulated.table("amx").name == b"amx"
    finally:
        emulated.lib.set_features(every)


def test_self_test_on_right_tiles() -> None:
    for kind in emulations.KINDS[:2]:
        assert emulations.library(kind).lib.amx_works()


# As in soft_tiles.h.
FAULTS = {"loses odd values": 1, "loses rows": 2, "rounds sums": 3, "depends on the row": 4, "forgets sums": 5}


@pytest.mark.parametrize("fault", FAULTS)
def test_surprising_tiles_leave_the_level_out(fault: str) -> None:
    """Without a word: the next level is the best one then."""
    with emulations.fresh("amx-emulated") as emulated:
        emulated.lib.set_fault(FAULTS[fault])
        assert not emulated.lib.amx_works()
        assert emulated.names() == ["avx512", "avx2", "portable"]
        with pytest.raises(KeyError):
            emulated.table("amx")


def test_the_object_that_is_shipped_passes_the_self_test() -> None:
    """With its tile instructions carried out in plain code."""
    with emulations.running("amx-trapped") as trapped:
        assert trapped.lib.amx_works()
        assert trapped.names()[0] == "amx"


def test_the_object_holds_the_instructions(library: kernel_api.Library) -> None:
    objdump = shutil.which("objdump")
    if objdump is None:
        pytest.skip("objdump not found")
    command = [objdump, "-d", "--no-show-raw-insn", str(library.folder / "target_amx.o")]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for instruction in ("ldtilecfg", "sttilecfg", "tilerelease", "tileloadd", "tilestored", "tdpbf16ps"):
        assert re.search(rf"\t{instruction}\b", text), instruction
    products = set(re.findall(r"tdpbf16ps %tmm(\d),%tmm(\d),%tmm(\d)", text))  # weights, sites, sum
    assert {p[2] for p in products} == set("0123")
    assert {p[:2] for p in products} == {("6", "4"), ("7", "4"), ("6", "5"), ("7", "5")}
    other = subprocess.run([*command[:-1], str(library.folder / "target_avx512.o")], check=True, capture_output=True)
    assert b"tdpbf16ps" not in other.stdout


def test_nothing_of_the_level_reads_the_float_kernels_weights() -> None:
    """What begins with gemm is replaced, or null: the packed weights have another layout."""
    emulated = emulations.library("amx-emulated")
    amx, below = emulated.table("amx"), emulated.below
    for name, kind in kernel_api.Kernels._fields_:
        if kind is kernel_api.i32 or name == "name":
            continue
        mine, other = (ct.cast(getattr(table, name), ct.c_void_p).value for table in (amx, below))
        assert (mine is None or mine != other) == name.startswith("gemm"), name
