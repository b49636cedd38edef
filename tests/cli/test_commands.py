from __future__ import annotations

import json
import re
import shlex

import jsonschema
import numpy as np
import pytest
import yaml

from rnnspect.cli import COMMANDS, GROUPS
from rnnspect.cli.init import starter
from rnnspect.cli.output import Output
from rnnspect.network.spec import Spec


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_that_works(rnnspect, command, tmp_path, monkeypatch):
    result = rnnspect(command, "--help")
    assert result.status == 0
    assert re.search(rf"^Example:  rnnspect {command} .*\S$|^Example:  rnnspect {command}$", result.out, re.MULTILINE)
    assert result.out.rstrip().splitlines()[-1].startswith("Example:")  # on one line, to be copied


def test_without_a_command_the_help_is_shown(rnnspect):
    result = rnnspect()
    assert result.status == 0
    assert "trace" in result.out


def test_help_lists_the_commands_in_the_order_of_work(rnnspect):
    """By what a person wants, a line each that is a whole sentence on 80 columns; all of it on a screen of 24 lines,
    of which the last is the prompt's."""
    shown = rnnspect("--help").out
    assert re.findall(r"^  ([a-z]+)  +[A-Z].*\w$", shown, re.MULTILINE) == list(COMMANDS)
    assert re.findall(r"^[A-Z][a-z ]+$", shown, re.MULTILINE) == list(GROUPS)
    assert max(map(len, shown.splitlines())) <= 80
    assert len(shown.splitlines()) <= 23


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_screen(rnnspect, command):
    """What is left to --help-all is named, and explained there."""
    short, whole = rnnspect(command, "--help").out, rnnspect(command, "--help-all")
    assert len(short.splitlines()) <= 60
    if whole.status == 0:
        named = re.findall(r"--\S+", short.partition("More options")[2].partition("\n")[2].partition("Example:")[0])
        assert named
        assert all(re.search(rf"^  {re.escape(name)} ", whole.out, re.MULTILINE) for name in named)


def test_a_format_that_a_command_names_and_does_not_make_is_our_fault():
    with pytest.raises(AssertionError, match="nothing makes csv here"):
        Output("csv", None, quiet=False).emit(lambda _width: ["a table"])


def test_every_key_of_a_spec_has_an_option(rnnspect):
    shown = rnnspect("shapes", "--help").out.replace("[no-]", "")
    assert all(f"--{name.replace('_', '-')}" in shown for name in Spec.model_fields)


def test_version(rnnspect):
    import rnnspect as library

    assert rnnspect("--version").out == f"rnnspect {library.__version__}\n"


def test_flags_win_over_the_file(rnnspect):
    document = json.loads(rnnspect("shapes", "configs/lstm.yaml", "--hidden-size", "8", "--format", "json").out)
    assert document["spec"]["hidden_size"] == 8
    assert document["spec"]["cell"] == "lstm"


def test_flags_that_say_no(rnnspect):
    document = json.loads(rnnspect("shapes", "configs/bidirectional.yaml", "--no-bidirectional", "-f", "json").out)
    assert document["spec"]["bidirectional"] is False


def test_files_in_a_spec_are_counted_from_its_folder(rnnspect, tmp_path):
    np.save(tmp_path / "x.npy", np.full((4, 5), 0.5))
    (tmp_path / "net.yaml").write_text("input: x.npy\n")
    document = json.loads(rnnspect("trace", tmp_path / "net.yaml", "--format", "json").out)
    assert document["sequence"]["x"] == [[[0.5] * 5] * 4]


def test_an_input_by_flag_replaces_the_batch_that_went_with_the_files_own(rnnspect):
    result = rnnspect("trace", "configs/notebook-model.yaml", "--input", str([[0.5] * 64] * 2), "--format", "json")
    assert result.status == 0
    assert len(json.loads(result.out)["output"]["engine"]) == 1


def test_trace_document_keys(rnnspect):
    document = json.loads(rnnspect("trace", "configs/lstm.yaml", "--format", "json").out)
    assert (document["format"], document["version"]) == ("rnnspect.trace", 1)
    assert set(document["spec"]) == set(Spec.model_fields)
    assert set(document["sequence"]) == {"x", "h0", "c0", "lengths"}
    assert {"name", "version", "device", "dtype"} <= set(document["engine"])
    layer = document["layers"][0]
    assert list(layer["quantities"]) == ["x", "input_projection", "hidden_projection", "i", "f", "g", "o", "c", "h"]
    assert set(layer["engine"]) == {"h"}
    assert set(document["c_n"]) == {"manual", "engine"}
    assert document["head"] is None


def test_shapes_document_keys(rnnspect):
    document = json.loads(rnnspect("shapes", "configs/gru.yaml", "--format", "json").out)
    assert (document["format"], document["version"]) == ("rnnspect.shapes", 1)
    assert {"spec", "parameters", "total", "bytes", "output", "h_n", "c_n"} <= set(document)
    assert {"name", "shape", "gates", "count", "bytes"} <= set(document["parameters"][0])
    assert [gate["name"] for gate in document["parameters"][0]["gates"]] == ["r", "z", "n"]


def test_padding_is_null_in_json(rnnspect):
    document = json.loads(rnnspect("trace", "configs/packed.yaml", "--format", "json").out)
    for sequence in (document["output"]["manual"], document["layers"][1]["quantities"]["z"], document["sequence"]["x"]):
        assert [item.count(None) for item in sequence] == [0, 2, 3]


def test_what_is_not_finite_is_text_in_json_and_counted(rnnspect):
    result = rnnspect("trace", "--input", "[[NaN, 1, 1, 1, 1], [1, 1, Infinity, -Infinity, 1]]", "--format", "json")
    assert result.status == 0
    assert json.loads(result.out)["sequence"]["x"][0] == [["NaN", 1, 1, 1, 1], [1, 1, "Infinity", "-Infinity", 1]]
    assert "x has 3 of 10 values that are not finite (1 NaN)" in result.err
    assert rnnspect("trace", "--input", "[[NaN, 1, 1, 1, 1]]", "-q").err == ""


def test_arrays_are_kept_beside_the_table(rnnspect, tmp_path):
    path = tmp_path / "run.npz"
    result = rnnspect("trace", "configs/lstm.yaml", "-o", path)
    assert "layer 0, forward" in result.out
    assert f"wrote {path}" in result.err
    with np.load(path) as arrays:
        document = json.loads(rnnspect("trace", "configs/lstm.yaml", "--format", "json").out)
        for name in ("i", "f", "g", "o", "c", "h"):
            found = arrays[f"l0.forward.{name}"]
            assert np.array_equal(found, np.float32(document["layers"][0]["quantities"][name]))
        assert json.loads(str(arrays["spec"])) == document["spec"]


def test_run_keeps_its_output(rnnspect, tmp_path):
    path = tmp_path / "out.npz"
    result = rnnspect("run", "configs/notebook-model.yaml", "-o", path, "-q")
    assert (result.out, result.err) == ("", "")
    with np.load(path) as arrays:
        assert arrays["output"].shape == (5, 3, 32)
        assert arrays["h_n"].shape == (2, 5, 32)
        assert arrays["head"].shape == (5, 1)


def test_a_text_file_takes_the_result_instead_of_stdout(rnnspect, tmp_path):
    path = tmp_path / "shapes.json"
    assert rnnspect("shapes", "-o", path).out == ""
    assert json.loads(path.read_text())["format"] == "rnnspect.shapes"
    assert [entry.name for entry in tmp_path.iterdir()] == ["shapes.json"]


def test_markdown_of_shapes(rnnspect):
    out = rnnspect("shapes", "--cell", "gru", "--format", "markdown").out
    assert "| weight_ih_l0 | [6, 5] | 3·hidden × input | r 0:2  z 2:4  n 4:6 | 30 | 120 |" in out


def test_starter_file_is_a_spec_and_its_values_are_the_defaults():
    data = yaml.safe_load(starter())
    assert Spec.from_data(data) == Spec()
    assert {line.lstrip("# ").partition(":")[0] for line in starter().splitlines()} >= set(Spec.model_fields)


def test_starter_file_follows_the_schema(rnnspect):
    schema = json.loads(rnnspect("schema").out)
    jsonschema.validate(yaml.safe_load(rnnspect("init").out), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"hiden_size": 3}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"cell": "lstmm"}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"hidden_size": 0}, schema)


@pytest.mark.parametrize("content", ["1,1,1,1,1\n2,2,2,2,2\n3,3,3,3,3\n", "[[1,1,1,1,1],[2,2,2,2,2],[3,3,3,3,3]]"])
def test_standard_input(rnnspect, monkeypatch, content):
    import io

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    given = json.loads(rnnspect("trace", "--input", "-", "--format", "json").out)
    assert given["output"] == json.loads(rnnspect("trace", "--format", "json").out)["output"]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".safetensors", ".csv", ".json"])
@pytest.mark.parametrize("how", ["cat {0} | {1} trace --input - {2}", "{1} trace --input <(cat {0}) {2}"])
def test_every_format_comes_through_a_pipe(tmp_path, suffix, how):
    import subprocess
    import sys

    import torch
    from safetensors.torch import save_file

    x = np.float32([[1] * 5, [2] * 5, [3] * 5])
    path = tmp_path / f"x{suffix}"
    match suffix:
        case ".npy":
            np.save(path, x)
        case ".npz":
            np.savez(path, x=x)
        case ".pt":
            torch.save(torch.tensor(x), path)
        case ".safetensors":
            save_file({"x": torch.tensor(x)}, path)
        case ".csv":
            np.savetxt(path, x, delimiter=",")
        case ".json":
            path.write_text(json.dumps(x.tolist()))
    command = how.format(path, f"{sys.executable} -m rnnspect", "--format json")
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert result.stderr == ""
    assert json.loads(result.stdout)["sequence"]["x"] == [x.tolist()]


def test_standard_input_is_there_once(rnnspect):
    assert "standard input (-) can be read only once" in rnnspect("trace", "--input", "-", "--h0", "-").err


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_the_starter_file_is_a_start_for_every_cell(rnnspect, tmp_path, cell):
    (tmp_path / "net.yaml").write_text(starter().replace("cell: rnn ", f"cell: {cell} "))
    assert rnnspect("trace", tmp_path / "net.yaml").status == 0


def test_flags_win_over_what_goes_with_what_they_replace(rnnspect):
    other_cell = rnnspect("trace", "configs/lstm.yaml", "--cell", "gru")
    assert other_cell.status == 0
    assert "note: ignored c0 of configs/lstm.yaml" in other_cell.err
    other_input = rnnspect("trace", "configs/packed.yaml", "--input", "randn:4")
    assert other_input.status == 0
    assert "note: ignored lengths of configs/packed.yaml" in other_input.err


@pytest.mark.parametrize("name", ["x.csv", "x.NPY", "-"])
def test_a_file_that_no_result_is_written_as(rnnspect, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    result = rnnspect("trace", "-o", name)
    assert result.status == 2
    assert "cannot write" in result.err
    assert list(tmp_path.iterdir()) == []


def test_suffixes_in_capitals(rnnspect, tmp_path):
    assert rnnspect("trace", "-o", tmp_path / "x.NPZ", "-q").status == 0
    with np.load(tmp_path / "x.NPZ") as arrays:
        assert "l0.forward.h" in arrays


def test_quiet_does_not_drop_a_format_that_was_asked_for(rnnspect, tmp_path):
    result = rnnspect("trace", "-o", tmp_path / "x.npz", "--format", "json", "-q")
    assert json.loads(result.out)["format"] == "rnnspect.trace"
    assert result.err == ""


def test_out_of_memory_is_bad_input_not_a_fault(rnnspect, monkeypatch):
    def full(*_args):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")

    monkeypatch.setattr("rnnspect.tracing.running.max_abs_difference", full)
    result = rnnspect("trace")
    assert result.status == 2
    assert "error: out of memory" in result.err


def test_a_starter_file_says_what_comes_next(rnnspect, tmp_path):
    path = tmp_path / "net.yaml"
    said = rnnspect("init", "-o", path).err.splitlines()
    assert said == [f"wrote {path}", f"change what is in it, then: rnnspect trace {path}"]
    assert rnnspect(*shlex.split(said[1].partition(": rnnspect ")[2])).status == 0
    assert rnnspect("init", "-o", tmp_path / "other.yaml", "-q").err == ""
    assert rnnspect("init").err == "", "not a terminal: the text is all that is wanted"


def test_a_trace_in_numbers_names_a_command_that_runs(rnnspect):
    last = rnnspect("trace", "--cell", "gru").out.splitlines()[-1]
    program, *words = shlex.split(last.partition(" shows")[0])
    assert (program, rnnspect(*words).status) == ("rnnspect", 0)
