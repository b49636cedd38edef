"""The commands whose screens are kept, by the name of their files in `golden/`. A new screen is one more line here."""

from __future__ import annotations

from rnnspect.cli import COMMANDS

WIDTHS = (80, 120, 200)

HELP = {"help": "--help"} | {f"help-{name}": f"{name} --help" for name in COMMANDS}

_OTHER_GRU = "check configs/gru.yaml --engine examples/mine.py:step"
_MINGRU = "--cell examples/cells/mingru.py:mingru"
_STALE = "check model.pt --input x.npy --explain 0"
"""Of the files that examples/stale.py writes."""
CHECK = {
    "check-agree": "check configs/lstm.yaml",
    "check-verbose": "check configs/lstm.yaml -v",
    "check-differ": _OTHER_GRU,
    "check-cannot-tell": "check --cell lstm --hidden-size 4 --input ones:1",
    "check-saturated": "check --cell gru --input-size 2 --hidden-size 4 --input '[[300.0, 200.0], [50.0, 400.0]]'",
    "check-suspect": f"{_STALE} --recorded one.npy",
    "check-recovered": f"{_STALE} --recorded adapter.npy --recover theirs.npz",
    "check-recorded-several": f"{_STALE} --recorded one.npy --recorded adapter.npy",
    "check-backward": "check --cell rnn --input randn:30 --backward --engine examples/backward.py:backward",
    "check-sweep": f"check {_MINGRU} --engine examples/chunked.py:mingru --sweep --chunk 5",
    "check-several": f"{_OTHER_GRU} --engine torch-cell",
}
"""Screens of `check`: the verdict of each is in its first eight lines."""

OTHERS = {
    "about": "about configs/lstm.yaml",
    "shapes": "shapes --cell lstm --num-layers 2 --bidirectional",
    "shapes-live": "shapes examples/tagger.py:build",
    "run": "run configs/lstm.yaml",
    "run-batch": "run configs/packed.yaml",
    "trace": "trace configs/lstm.yaml",
    "trace-rnn": "trace",
    "trace-large": "trace --cell lstm --input-size 64 --hidden-size 128 --input randn:200",
    "trace-large-numbers": "trace --cell lstm --input-size 64 --hidden-size 128 --input randn:200 --steps 7",
    "trace-two-layers": "trace --cell gru --num-layers 2 --bidirectional --hidden-size 20 --input randn:30",
    "derive": "derive configs/gru.yaml --step 0 --unit 0 --precision 5",
    "layouts": "layouts",
    "layouts-keras": "layouts keras",
    "layouts-pytorch-keras": "layouts pytorch keras",
    "probe": "probe --cell lstm -o probe.npz",
    "convert": "convert configs/lstm.yaml --to pytorch -o lstm.safetensors",
    "init": "init",
    "report": "report --cell gru -o report.html",
    "error-option": "trace --hidden-sise 3",
    "error-file": "trace missing.yaml",
}

SCREENS = HELP | CHECK | OTHERS
