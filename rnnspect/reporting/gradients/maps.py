"""The gradients of one layer and direction of one batch item, as pictures and as curves over time."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from rnnspect.arithmetic.chain_rule import chain_rule, names_of_pre_activations
from rnnspect.reporting.data import LayerReport, ReachReport
from rnnspect.reporting.downsampling import Picture, picture_of
from rnnspect.reporting.keeping import Frame
from rnnspect.tracing.gradients import LayerGradient
from rnnspect.tracing.prepare import Prepared

GRADIENT = "gradient"
"""The name of the map of dL/d of a quantity, beside that of its values."""
_NORMS = {"h": "dL/dh", "h_next": "of it from the next step", "h_output": "of it from above", "c": "dL/dc"}
"""The curves of how far a gradient reaches, in the order in which they are drawn, by what each is the norm of."""


def with_gradients(report: LayerReport, gradient: LayerGradient, prepared: Prepared, frame: Frame) -> LayerReport:
    """The layer with dL/d of each quantity that has maps, right after its values, then that of a gate's pre-activation,
    and how far the gradient reaches. Each map has every number where `frame` has room for all. The page derives those
    of the pre-activations where it says so."""
    cell = prepared.spec.cell_type
    names = dict(zip(cell.gates, names_of_pre_activations(cell), strict=True))

    def picture(values: Tensor, cells: int) -> Picture:
        """Of (B, T, units) the steps of the item that is shown."""
        return picture_of(values[frame.item, : frame.length].double().numpy(), cells)

    maps: dict[tuple[str, str], Picture | None] = {}
    for (name, shown), values in report.maps.items():
        maps[name, shown] = values
        if shown == "equations" and name in gradient.quantities:
            maps[name, GRADIENT] = picture(gradient.quantities[name], frame.gradient_cells)
            if name in names:
                own = gradient.pre_activations[name]
                maps[names[name], GRADIENT] = None if frame.derives_gradients else picture(own, frame.gradient_cells)
    norms, paths = gradient.reach.norms, gradient.reach.paths
    reach = ReachReport(
        gradient,
        {said: picture(norms[name][..., None], frame.curve_cells) for name, said in _NORMS.items() if name in norms},
        {path.name: picture(path.ratios[..., None], frame.curve_cells) for path in paths},
    )
    derivable = report.derivable
    if frame.derives_gradients:
        chain = chain_rule(prepared.spec, derivable.parameters, report.layer, report.direction)
        derivable = replace(derivable, chain=chain)
    return replace(report, maps=maps, reach=reach, derivable=derivable)
