"""Why final states are wrong where every step is right: what they are instead says it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnspect.judging.verdict import Explained, Explanation

if TYPE_CHECKING:
    from rnnspect.judging.final_states import Meaning
    from rnnspect.judging.interpretation import At
    from rnnspect.judging.stack import Judged

_GIVE = "Give what the cell returned after the last step that it processed."


def means(judged: Judged, at: At) -> set[str]:
    """The mistakes that say what the wrong final states of a layer and direction are; "" for one that none does."""
    return {
        _cause(meaning, at[1])[0] if (meaning := judged.meanings.get((point.quantity, *at))) else ""
        for point in judged.finals
        if point.ratio > 1 and (point.layer, point.direction) == at
    }


def explain_finals(judged: Judged) -> Explained:
    """Of a run whose every step is right: no cause where nothing says what a final state is."""
    wrong = [point for point in judged.finals if point.ratio > 1]
    found: dict[str, list[str]] = {}
    ratios: dict[str, tuple[float, float]] = {}
    said: dict[str, tuple[str, str, str]] = {}
    left: list[str] = []
    for point in wrong:
        place = f"{point.quantity} of layer {point.layer} {point.direction}"
        meaning = judged.meanings.get((point.quantity, point.layer, point.direction))
        if meaning is None:
            left.append(place)
            continue
        name, *words = _cause(meaning, point.direction)
        said.setdefault(name, (words[0], words[1], words[2]))
        found.setdefault(name, []).append(place)
        before, after = ratios.get(name, (0.0, 0.0))
        ratios[name] = max(before, point.ratio), max(after, meaning.ratio)
    causes = []
    for name, places in found.items():
        family, explanation, fix = said[name]
        others = [place for other, there in found.items() if other != name for place in there]
        which = {"which": places[0].partition(" ")[0]}
        causes.append(
            Explanation(name, family, which, explanation, fix, *ratios[name], tuple(places), tuple(others + left))
        )
    return Explained(tuple(causes))


def _cause(meaning: Meaning, direction: str) -> tuple[str, str, str, str]:
    """Name, family, explanation and fix."""
    match meaning.kind:
        case "elsewhere":
            return (
                "states-interleaved",
                "states",
                "the final states stand in another order than layer by layer, in each forward before reverse: here "
                f"stands {meaning.said}",
                "Put them as (layers · directions, batch, units); h_n.view(layers, directions, …) takes them apart.",
            )
        case "padding":
            return (
                "padding-not-masked",
                "order",
                "the final state is taken at the last step of the batch, which is padding for shorter items",
                "Take each item's state at its own last step; output[:, -1] is not that.",
            )
        case "begun" if direction == "reverse":
            return (
                "reverse-not-realigned",
                "order",
                "the reverse direction's final state is taken at the last step, where that direction has only begun",
                "Take it at step 0; output[:, -1] holds the last state of the forward direction alone.",
            )
        case "begun":
            return "directions-exchanged", "order", "the final state is taken at the first step", _GIVE
        case "earlier":
            return "shifted-by-one", "order", "the final state is one step old", _GIVE
        case "zeros" | "initial":
            explanation = f"the final state is {meaning.said}: what the cell returned was not handed on"
            return "state-not-carried", "states", explanation, _GIVE
        case _:
            return (
                "h-c-exchanged",
                "states",
                f"h and c stand in each other's place: here stands {meaning.said}",
                "Hand them over as (h, c): PyTorch, Keras and ONNX do; TensorFlow 1 and Flax give (c, h).",
            )
