"""Fourth stage: which matches become regions on resident tensors. Pure.

A region is a connected component of matches over the tensors that they share. It stays dense where it holds no
convolution (nothing is saved), where too few multiply-accumulates stand behind what crosses its borders, or where all
its maps are single sites and there are few of them. Before that, arithmetic at a border is handed back to the dense
side where less crosses the border then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import onnx_graphsurgeon as gs

from rrm_onnx.types import Decision, EdgeFact, Match, Plan, Refusal, Region

# A float that crosses a border is read, compared and written, or transposed and written: 1 to 2 ns on one core, in
# which a dense convolution does 30 to 60 multiply-accumulates. Below this ratio a region cannot win.
LEAST_MACS_PER_BORDER_FLOAT = 32

# In a region of single sites all is computed or nothing. Its nodes take some microseconds beside that, a twentieth or
# more of what fewer multiply-accumulates take (a speech network's layers of 0.13 M: 7 % slower where all changes).
LEAST_MACS_OF_SITES = 1_000_000

# What may be handed back at a border: cheap for the dense side too, so that only the traffic counts.
TRIMMED = {"Activation", "Binary", "BinaryConst", "Concat", "Slice", "ChannelRanges"}

# These name parts of other maps and keep none of their own.
VIEWS = {"Concat", "Slice", "ChannelRanges"}

# Where a map's size is unknown, every map counts as one of this many sites: only ratios matter here.
NOMINAL_SITES = 64 * 64

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Uses:
    """Who writes and reads the tensors of the source graph."""

    producer: Mapping[str, str]
    readers: Mapping[str, tuple[str, ...]]  # node names; "" for a reader outside of the graph's node list
    outputs: frozenset[str]


def partition(graph: gs.Graph, decisions: Mapping[str, Decision]) -> Plan:
    """The regions that are worth it, and a Refusal for every other node."""
    uses, matches, refusals, facts = prepare(graph, decisions)
    trim(matches, refusals, uses, facts)
    regions = []
    for names in components(matches):
        region = describe(names, matches, uses, facts)
        refusal = verdict(region, matches, facts)
        if refusal is None:
            regions.append(region)
            continue
        code, reason = refusal
        for name in names:
            refusals[name] = Refusal(code, name, matches[name].op_type, reason)
    kept = {name: matches[name] for region in regions for name in region.nodes}
    return Plan(tuple(regions), kept, refusals)


def everything(graph: gs.Graph, decisions: Mapping[str, Decision]) -> Plan:
    """Every match in a region, worth it or not: for measuring single operators."""
    uses, matches, refusals, facts = prepare(graph, decisions)
    regions = tuple(describe(names, matches, uses, facts) for names in components(matches))
    return Plan(regions, matches, refusals)


def prepare(
    graph: gs.Graph, decisions: Mapping[str, Decision]
) -> tuple[Uses, dict[str, Match], dict[str, Refusal], dict[str, EdgeFact]]:
    """Uses of tensors, matches and refusals, and the facts of all tensors that matches touch."""
    matches = {name: d for name, d in decisions.items() if isinstance(d, Match)}
    refusals = {name: d for name, d in decisions.items() if isinstance(d, Refusal)}
    edges = {name: fact for m in matches.values() for name, fact in m.facts.items()}
    entering = {t for m in matches.values() for t in m.inputs if t not in edges}
    facts = edges | {t: entering_fact(graph, t) for t in entering}
    return uses_of(graph, decisions), matches, refusals, facts


def uses_of(graph: gs.Graph, decisions: Mapping[str, Decision]) -> Uses:
    """Producers and readers by node name, absorbed nodes counted as the node that absorbed them. A map of which a node
    needs the size alone (ResizeLike) has it for a reader too, though in the graph other nodes stand between."""
    owner = {a: name for name, d in decisions.items() if isinstance(d, Match) for a in d.absorbed}
    names = set(decisions) | set(owner)
    producer: dict[str, str] = {}
    readers: dict[str, tuple[str, ...]] = {}
    for name, tensor in graph.tensors().items():
        if isinstance(tensor, gs.Constant):
            continue
        if tensor.inputs:
            producer[name] = owner.get(tensor.inputs[0].name, tensor.inputs[0].name)
        found = [n.name if n.name in names else "" for n in tensor.outputs]
        readers[name] = tuple(dict.fromkeys(owner.get(n, n) for n in found))
    for name, d in decisions.items():
        for t in d.inputs if isinstance(d, Match) else ():
            readers[t] = tuple(dict.fromkeys((*readers.get(t, ()), name)))
    return Uses(producer, readers, frozenset(t.name for t in graph.outputs))


def entering_fact(graph: gs.Graph, name: str) -> EdgeFact:
    """Size of a tensor that enters from outside, as shape inference left it."""
    shape = graph.tensors()[name].shape or ()
    dims = [int(d) if isinstance(d, int) and d > 0 else None for d in shape]
    return EdgeFact("float32", len(dims), *dims) if len(dims) == 4 else EdgeFact()


def elements(fact: EdgeFact) -> int:
    """Floats of one batch row of a map, nominal where its size is unknown."""
    sites = NOMINAL_SITES if fact.sites is None else fact.sites
    return (fact.channels or 1) * sites


def trim(matches: dict[str, Match], refusals: dict[str, Refusal], uses: Uses, facts: Mapping[str, EdgeFact]) -> None:
    """Hand cheap nodes back to the dense side while that lets less cross the border.

    Considered are nodes at the upper border (all inputs enter) and at the lower one (no output is read inside).
    """
    changed = True
    while changed:
        changed = False
        for name, m in list(matches.items()):
            cheap = all(n.op in TRIMMED for n in m.emits)
            if not cheap or not (at_top(m, matches, uses) or at_bottom(m, matches, uses)):
                continue
            rest = {n: x for n, x in matches.items() if n != name}
            if crossing(m, matches, uses, facts) > crossing(m, rest, uses, facts):
                del matches[name]
                refusals[name] = Refusal("border", name, m.op_type, "at a border, where less crosses without it")
                changed = True


def at_top(m: Match, matches: Mapping[str, Match], uses: Uses) -> bool:
    return not any(uses.producer.get(t) in matches for t in m.inputs)


def at_bottom(m: Match, matches: Mapping[str, Match], uses: Uses) -> bool:
    return not any(r in matches for t in m.outputs for r in uses.readers.get(t, ()))


def crossing(m: Match, matches: Mapping[str, Match], uses: Uses, facts: Mapping[str, EdgeFact]) -> int:
    """Floats that cross the border on the tensors of `m`, if `matches` are inside."""
    return sum(
        elements(facts[t]) for t in (*m.inputs, *m.outputs) if enters(t, matches, uses) or leaves(t, matches, uses)
    )


def enters(tensor: str, matches: Mapping[str, Match], uses: Uses) -> bool:
    """Made outside, read inside."""
    inside = uses.producer.get(tensor) in matches
    return not inside and any(r in matches and tensor in matches[r].inputs for r in uses.readers.get(tensor, ()))


def leaves(tensor: str, matches: Mapping[str, Match], uses: Uses) -> bool:
    """Made inside as a ticket, read outside or an output of the graph."""
    made_by = uses.producer.get(tensor, "")
    if made_by not in matches or tensor not in matches[made_by].outputs:
        return False
    return tensor in uses.outputs or any(r not in matches for r in uses.readers.get(tensor, ()))


def components(matches: Mapping[str, Match]) -> list[list[str]]:
    """Node names by connected component over the tensors that they share, each in graph order."""
    parent = {name: name for name in matches}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    seen: dict[str, str] = {}
    for name, m in matches.items():
        for tensor in (*m.inputs, *m.outputs):
            parent[root(name)] = root(seen.setdefault(tensor, name))
    groups: dict[str, list[str]] = {}
    for name in matches:
        groups.setdefault(root(name), []).append(name)
    return list(groups.values())


def describe(names: Iterable[str], matches: Mapping[str, Match], uses: Uses, facts: Mapping[str, EdgeFact]) -> Region:
    """A component with its borders and costs."""
    nodes = tuple(names)
    inside = {n: matches[n] for n in nodes}
    tensors = dict.fromkeys(t for m in inside.values() for t in (*m.inputs, *m.outputs))
    enter = tuple(t for t in tensors if enters(t, inside, uses))
    leave = tuple(t for t in tensors if leaves(t, inside, uses))
    known = all(facts[t].sites is not None for t in (*enter, *leave))
    border = sum(elements(facts[t]) for t in (*enter, *leave)) if known else None
    macs = [m.macs for m in inside.values()]
    state = state_bytes(inside.values(), enter, leave, facts)
    return Region(nodes, enter, leave, None if None in macs else sum(v or 0 for v in macs), border, state)


def state_bytes(
    inside: Iterable[Match], enter: Iterable[str], leave: Iterable[str], facts: Mapping[str, EdgeFact]
) -> int | None:
    """What one stream keeps: the map of every node, at the borders once more in the layout of the outside."""
    maps = [t for m in inside for n in m.emits if n.op not in VIEWS and not n.dense for t in n.outputs]
    maps += [*enter, *enter, *leave]
    if any(facts[t].sites is None for t in maps):
        return None
    return FLOAT_BYTES * sum(elements(facts[t]) for t in maps)


def verdict(region: Region, matches: Mapping[str, Match], facts: Mapping[str, EdgeFact]) -> tuple[str, str] | None:
    """(code, reason) why a region stays dense; None where it is worth it."""
    convolutions = [matches[n] for n in region.nodes if matches[n].is_convolution]
    if not convolutions:
        return "region-no-conv", "no convolution in its region, nothing to save"
    macs = sum(nominal_macs(m) if region.macs is None else m.macs or 0 for m in convolutions)
    border = sum(
        elements(replace(facts[t], height=None) if region.macs is None else facts[t])
        for t in (*region.enters, *region.exits)
    )
    if macs < LEAST_MACS_PER_BORDER_FLOAT * border:
        ratio = macs / max(border, 1)
        return "region-cost", f"its region does {ratio:.1f} multiply-accumulates per float that crosses its borders"
    tensors = {t for n in region.nodes for t in (*matches[n].inputs, *matches[n].outputs)}
    if macs < LEAST_MACS_OF_SITES and all(facts[t].sites == 1 for t in tensors):
        return "region-sites", "every map of its region is a single site: any change means all of its little work"
    return None


def nominal_macs(m: Match) -> int:
    """Multiply-accumulates of a convolution over a map of NOMINAL_SITES sites."""
    return sum(int(c.values.size) for c in m.emits[0].constants if c.values.ndim == 4) * NOMINAL_SITES
