"""What results are in a notebook: small static HTML that foreign names cannot change, and arrays."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import asdict, replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from torch import nn

import rnnspect
from rnnspect import Spec
from rnnspect.checking.live.watch import WatchedCalls
from rnnspect.reporting.building import report_prepared
from rnnspect.tracing.prepare import prepare
from rnnspect.tracing.running import trace_prepared
from rnnspect.views import rendering
from rnnspect.views.rendering import Screen, rendered
from rnnspect.views.selection import Selection
from rnnspect.views.trace import parts
from tests.marks import sampled

HOSTILE = "</script><script>alert(1)</script><img src=x onerror='alert(1)'>\"&amp;\x1b[31m\u202e"
VOID = {"br", "hr", "img"}
A_FEW_KB = 16_384


class Elements(HTMLParser):
    """The elements of a fragment, each closed in its turn, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.attributes: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert tag not in VOID
        self.open.append(tag)
        self.seen.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text.append(data)


class Model(nn.Module):
    def __init__(self, name: str = "rnn") -> None:
        super().__init__()
        self.add_module(name, nn.GRUCell(3, 4))
        self.name = name

    def forward(self, x, calls=1):
        for _ in range(calls):
            h = getattr(self, self.name)(x)
        return h


def watched(name: str = "rnn", calls: int = 1):
    model = Model(name)
    with rnnspect.watch(model) as seen:
        model(torch.ones(2, 3), calls)
    return seen


LSTM = Spec(cell="lstm", input_size=64, hidden_size=64, num_layers=4, bidirectional=True)
RESULTS = {
    "shapes": lambda: rnnspect.shapes(LSTM),
    "trace": lambda: rnnspect.trace(Spec()),
    "long trace": lambda: rnnspect.trace(LSTM, "randn:200"),
    "gradients": lambda: rnnspect.gradients(Spec()),
    "long gradients": lambda: rnnspect.gradients(LSTM, "randn:30", loss="last"),
    "agree": lambda: rnnspect.check(Spec(cell="gru"), "randn:20"),
    "differ": lambda: rnnspect.check(Spec(), recorded=np.ones((3, 2), "f4")),
    "derivation": lambda: rnnspect.derive(Spec(cell="gru", hidden_size=32), "randn:20", step=3, unit=1),
    "derivation of a gradient": lambda: rnnspect.derive(Spec(cell="gru"), "randn:20", gradient="weight_hh_l0[3,1]"),
    "report": lambda: report_prepared(prepare(Spec(cell="gru", input="randn:20"))),
    "watched": lambda: watched(calls=200),
    "nothing watched": lambda: WatchedCalls((), 0),
}


@pytest.mark.parametrize("name", sampled(RESULTS, 2))
def test_a_result_is_a_few_kilobytes_of_balanced_static_html(name):
    result = RESULTS[name]()
    bundle, shown = result._repr_mimebundle_(include=None, exclude=None), result._repr_html_()
    assert bundle["text/html"] == shown
    assert len(bundle["text/plain"].encode()) < A_FEW_KB
    assert "\x1b" not in bundle["text/plain"]
    assert len(shown.encode()) < A_FEW_KB
    found = Elements(shown)
    assert set(found.seen) <= {"div", "style", "pre", "span"}
    assert set(found.attributes) <= {"class", "style"}
    assert "url(" not in shown
    assert "@import" not in shown


@pytest.mark.parametrize("name", ["shapes", "trace", "derivation"])
def test_the_lines_are_those_of_the_terminal(name):
    bundle = RESULTS[name]()._repr_mimebundle_()
    assert "".join(Elements(bundle["text/html"]).text).rstrip("\n") == bundle["text/plain"]
    assert "─────" in bundle["text/plain"]


def test_the_numbers_are_those_of_the_terminal():
    trace = rnnspect.trace(Spec())
    assert (
        trace._repr_mimebundle_()["text/plain"].rstrip()
        == rendered(parts([trace], Selection(), 100), Screen(width=100)).rstrip()
    )


@pytest.mark.slow
def test_a_long_run_is_cut_and_says_so():
    text = " ".join(Elements(RESULTS["long trace"]()._repr_html_()).text)
    assert "mean |value| over time" in text
    assert ".layers holds the numbers · .to_pandas() · .plot()" in text
    assert "190 not shown" in " ".join(Elements(watched(calls=200)._repr_html_()).text)


def test_how_to_go_on_is_said_in_python():
    derivation = rnnspect.derive(Spec(cell="gru", bidirectional=True, num_layers=2), "randn:5", step=2, unit=1, layer=1)
    text = " ".join(Elements(derivation._repr_html_()).text)
    assert "--" not in text
    asked = re.findall(r"layer=0, (?:direction='\w+', )?step=2, unit=k", text)
    assert asked
    assert "--" not in " ".join(Elements(rnnspect.trace(Spec(batch=2), "randn:3")._repr_html_()).text)


def test_names_out_of_files_are_text():
    verdict = rnnspect.check(Spec(), recorded=np.ones((3, 2), "f4"))
    hostile = replace(
        verdict, notes=(HOSTILE,), reason=HOSTILE, pattern=HOSTILE, engine=replace(verdict.engine, name=HOSTILE)
    )
    trace = rnnspect.trace(Spec())
    for shown in (hostile, replace(trace, notes=(HOSTILE,)), watched("rnn<script onload='alert(1)'>\x1b\u202e")):
        found = Elements(shown._repr_html_())
        assert "script" not in found.seen
        assert "onload" not in found.attributes
        text = "".join(found.text)
        assert "\\x1b" in text
        assert "\\u202e" in text
        assert "<script" in text
        assert not any({*"\x1b\u202e"} & {*form} for form in shown._repr_mimebundle_().values())


@pytest.mark.parametrize("page", [(255, 255, 255), (17, 17, 17)], ids=["light", "dark"])
@pytest.mark.parametrize("hue", rendering.HUES)
def test_every_hue_can_be_read_on_light_and_dark(page, hue):
    """WCAG asks 4.5 to 1 of text. The page's own colour is taken as black on light and as #e0e0e0 on dark."""
    own = (0, 0, 0) if sum(page) > 380 else (224, 224, 224)
    colour = [int(digit * 2, 16) for digit in rendering.HUES[hue][1:]]
    mixed = [(own[at] * rendering.SHARE + colour[at] * (100 - rendering.SHARE)) / 100 for at in range(3)]
    low, high = sorted((luminance(page), luminance(mixed)))
    assert (high + 0.05) / (low + 0.05) >= 4.5


def luminance(colour):
    linear = [(c / 255 / 12.92) if c / 255 <= 0.03928 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_nothing_paints_a_background():
    style = re.search("<style>(.*?)</style>", rnnspect.shapes(Spec())._repr_html_())[1]
    assert re.findall("background[^;}]*", style) == ["background:none"]


def test_a_trace_as_arrays(tmp_path):
    trace = rnnspect.trace(Spec(cell="lstm", bidirectional=True, batch=2, lengths=[3, 2]), "randn:3")
    arrays = trace.to_numpy()
    np.savez(tmp_path / "run.npz", **arrays)
    kept = np.load(tmp_path / "run.npz", allow_pickle=False)
    assert set(kept) == set(arrays)
    for layer in trace.layers:
        for name, values in layer.quantities.items():
            given = kept[f"l{layer.layer}.{layer.direction}.{name}"]
            assert torch.equal(torch.from_numpy(given).nan_to_num(9), values.nan_to_num(9))
    assert torch.equal(torch.from_numpy(kept["engine.c_n"]), trace.c_n.engine)


def test_a_trace_s_arrays_are_the_file_that_trace_writes(tmp_path):
    from rnnspect.cli import main

    path = tmp_path / "run.npz"
    assert main(["trace", "--cell", "gru", "--input", "randn:4", "-o", str(path)]) == 0
    kept = np.load(path)
    arrays = rnnspect.trace(Spec(cell="gru"), "randn:4").to_numpy()
    assert set(kept) == set(arrays)
    for name, values in arrays.items():
        if name != "spec":
            assert np.array_equal(values, kept[name])


def test_a_verdict_as_arrays(tmp_path):
    verdict = RESULTS["differ"]()
    np.savez(tmp_path / "verdict.npz", **verdict.to_numpy())
    kept = np.load(tmp_path / "verdict.npz", allow_pickle=False)
    for name in ("worst", "first"):
        assert dict(zip(kept[name].dtype.names, kept[name][0].tolist(), strict=True)) == asdict(getattr(verdict, name))
    agreed = RESULTS["agree"]()
    arrays = agreed.to_numpy()
    assert len(arrays["first"]) == 0
    assert [row.tolist() for row in arrays["resolution"]] == [tuple(asdict(one).values()) for one in agreed.resolution]
    assert list(arrays["resolution"]["gate"]) == ["r", "z", "n"]


def test_shapes_as_arrays(tmp_path):
    shapes = rnnspect.shapes(Spec(cell="lstm", hidden_size=4, input_size=3))
    np.savez(tmp_path / "shapes.npz", **shapes.to_numpy())
    kept = np.load(tmp_path / "shapes.npz", allow_pickle=False)
    module = nn.LSTM(3, 4)
    for row, (name, parameter) in zip(kept["parameters"], module.named_parameters(), strict=True):
        assert row["name"] == name
        assert (row["rows"], row["columns"]) == (*parameter.shape, 1)[:2]
        assert (row["count"], row["bytes"]) == (parameter.numel(), parameter.numel() * 4)
    assert [tuple(row)[1:] for row in kept["gates"][:4].tolist()] == [
        ("i", 0, 4),
        ("f", 4, 8),
        ("g", 8, 12),
        ("o", 12, 16),
    ]


def test_a_result_made_below_the_library_shows_itself_too():
    assert "text/html" in trace_prepared(prepare(Spec()))._repr_mimebundle_()


def test_shapes_load_no_framework_until_they_are_shown():
    code = (
        "import sys, rnnspect; s = rnnspect.shapes(rnnspect.Spec()); print({'torch', 'numpy', 'rich'} & {*sys.modules})"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"
