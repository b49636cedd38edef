"""`probe`, and `check` of what it wrote: held to it is an implementation in plain numpy, right and wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rnnspect.cli import main
from tests.marks import sampled

SPEC = ("--cell", "gru", "--input-size", "4", "--hidden-size", "3", "--num-layers", "2")


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def gru(given, drop=None, batch_first=True):
    """Of a probe's arrays: output and h_n. `drop` is a bias that is left out, or b_hn."""
    u, finals = given["x"].astype(float), []
    u = u.transpose(1, 0, 2) if batch_first else u
    for layer in range(len(given["h0"])):
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        w, v, b, c = (given[f"{name}_l{layer}"].astype(float) for name in names)
        if drop == "bias_hh":
            c = 0 * c
        elif drop == "b_hn":
            c[2 * len(c) // 3 :] = 0
        h, out = given["h0"][layer].astype(float), []
        for row in u:
            (ri, zi, ni), (rh, zh, nh) = np.split(row @ w.T + b, 3, -1), np.split(h @ v.T + c, 3, -1)
            r, z = sigmoid(ri + rh), sigmoid(zi + zh)
            h = (1 - z) * np.tanh(ni + r * nh) + z * h
            out.append(h)
        u = np.stack(out)
        finals.append(h)
    output = u.transpose(1, 0, 2) if batch_first else u
    return {"output": output.astype(np.float32), "h_n": np.stack(finals).astype(np.float32)}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("probe") / "probe.npz"
    assert main(["probe", *SPEC, "-o", str(path)]) == 0
    return path.read_bytes()


@pytest.fixture
def probe(written, tmp_path):
    path = tmp_path / "probe.npz"
    path.write_bytes(written)
    return path


def check(rnnspect, path, recorded):
    np.savez(path.parent / "mine.npz", **recorded)
    result = rnnspect("check", "--probe", path, "--recorded", path.parent / "mine.npz", "--format", "json", "-q")
    assert result.err == ""
    return result.status, json.loads(result.out)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("drop", "cause"), sampled([(None, None), ("bias_hh", "bias-dropped"), ("b_hn", "gru-b_hn-dropped")], 3)
)
def test_one_run_of_it_settles_which_mistake_was_made(rnnspect, probe, drop, cause):
    with np.load(probe, allow_pickle=False) as given:
        status, document = check(rnnspect, probe, gru(given, drop))
    assert status == (1 if cause else 0)
    assert [one["name"] for one in document["causes"]] == ([cause] if cause else [])
    assert document["indistinguishable"] == []


@pytest.mark.slow
def test_time_first_as_the_spec_says(rnnspect, tmp_path):
    path = tmp_path / "probe.npz"
    rnnspect("probe", *SPEC, "--no-batch-first", "-o", path)
    with np.load(path) as given:
        assert given["x"].shape == (7, 4, 4)
        assert check(rnnspect, path, gru(given, batch_first=False))[0] == 0


@pytest.mark.slow
def test_what_is_in_the_file_is_said_with_the_lines_to_run_next(rnnspect, tmp_path):
    path = tmp_path / "p.npz"
    result = rnnspect("probe", "--cell", "lstm", "--bidirectional", "--lengths", "5,2", "-o", path)
    assert result.err == f"wrote {path}\n"
    with np.load(path) as file:
        for name in set(file) - {"spec"}:
            assert f" {name} " in result.out
            assert str(file[name].shape) in result.out
        assert len(set(file["lengths"].tolist())) == 4
        spec = json.loads(str(file["spec"]))
    assert not any(spec[key] for key in ("weights", "input", "h0", "c0", "lengths", "batch"))
    assert f'given = np.load("{path}")' in result.out
    assert 'yours(given["x"], given["h0"], given["c0"], given["lengths"])' in result.out
    assert f"rnnspect check --probe {path} --recorded mine.npz" in result.out


@pytest.mark.slow
@pytest.mark.parametrize("dtype", sampled(["float32", "float64", "float16", "bfloat16"], 4))
def test_an_engine_can_be_put_to_it(rnnspect, tmp_path, dtype):
    path = tmp_path / "probe.npz"
    rnnspect("probe", *SPEC, "--dtype", dtype, "--lengths", "2,2", "-o", path, "-q")
    result = rnnspect("check", "--probe", path, "--engine", "torch", "--format", "json")
    document = json.loads(result.out)
    assert document["verdict"] != "differ"
    assert document["spec"]["dtype"] == dtype


def test_a_spec_of_a_file_is_the_network_alone(rnnspect, tmp_path):
    np.savez(tmp_path / "w.npz", weight_ih_l0=np.ones((2, 5)), weight_hh_l0=np.ones((2, 2)))
    (tmp_path / "net.yaml").write_text(
        "bias: false\nweights: w.npz\ninput: randn:100\nbatch: 2\nhead: {out_features: 1}\n"
    )
    assert rnnspect("probe", tmp_path / "net.yaml", "-o", tmp_path / "p.npz").status == 0
    with np.load(tmp_path / "p.npz") as file:
        assert sorted(file) == ["h0", "spec", "weight_hh_l0", "weight_ih_l0", "x"]
        assert file["x"].shape == (4, 7, 5)
        assert not (file["weight_ih_l0"] == 1).any()


def spoilt(path, **changed):
    with np.load(path) as file:
        arrays = {name: file[name] for name in file} | changed
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})


def with_spec(path, **changed):
    with np.load(path) as file:
        spec = json.loads(str(file["spec"])) | changed
    spoilt(path, spec=np.array(json.dumps(spec)))


HOSTILE = {
    "no spec": ({"spec": None}, "probe.npz: the file holds no spec; expected a file that rnnspect probe wrote"),
    "a spec of numbers": ({"spec": np.ones(3)}, "probe.npz:spec: the array holds '<f8'; expected a single string"),
    "a spec that is pickled": (
        {"spec": np.array({"cell": "gru"}, dtype=object)},
        "probe.npz:spec: the array holds objects",
    ),
    "several specs": ({"spec": np.array(["{}", "{}"])}, "expected a single string"),
    "text that is no spec": ({"spec": np.array("[1")}, "probe.npz:spec:2:1: this is not valid YAML"),
    "a spec with code": ({"spec": np.array("cell: !!python/name:os.system")}, "is not allowed in a spec"),
    "no x": ({"x": None}, "probe.npz: missing: x"),
    "x of a wrong shape": ({"x": np.ones((2, 3, 9))}, "probe.npz:x: x has 9 features per step, input_size is 4"),
    "h0 of a wrong shape": ({"h0": np.ones((2, 3))}, "probe.npz:h0: h0 has the shape (2, 3)"),
    "c0 of a gru": ({"c0": np.ones((2, 4, 3))}, "probe.npz:c0: cell gru has no cell state"),
    "lengths that are none": ({"lengths": np.ones((4, 1))}, "probe.npz:lengths"),
    "lengths past the end": ({"lengths": np.array([7, 8, 1, 1])}, "probe.npz:lengths: a sequence of length 8"),
    "an x that is pickled": ({"x": np.array([{}], dtype=object)}, "Python objects are never loaded"),
    "a parameter of a wrong shape": (
        {"weight_ih_l1": np.ones((9, 9))},
        "probe.npz:weight_ih_l1: weight_ih_l1 has the shape",
    ),
    "a parameter too few": ({"bias_hh_l1": None}, "missing: 'bias_hh_l1'"),
    "an array that is none": ({"extra": np.ones(2)}, "probe.npz:extra: unknown parameter 'extra'"),
}


@pytest.mark.parametrize(("changed", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_is_refused_with_its_place(rnnspect, probe, changed, message):
    spoilt(probe, **changed)
    result = rnnspect("check", "--probe", probe, "--recorded", "none.npz")
    assert (result.status, result.out) == (2, "")
    assert message in result.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"weights": "/etc/passwd"}, "the spec has the key weights; expected only the network"),
        ({"input": "secret.npy"}, "the spec has the key input"),
        ({"h0": "secret.npy"}, "the spec has the key h0"),
        ({"hidden_size": 10**9}, "weight_ih_l0 has the shape (9, 4); expected (3000000000, 4)"),
        ({"cell": "grru"}, "or your own: --cell mine.py:NAME; did you mean 'gru'?"),
        ({"no_such": 1}, "no_such"),
    ],
    ids=str,
)
def test_a_hostile_spec_is_refused_with_its_place(rnnspect, probe, changed, message):
    with_spec(probe, **changed)
    result = rnnspect("check", "--probe", probe)
    assert (result.status, result.out) == (2, "")
    assert message in result.err
    assert "probe.npz" in result.err


def test_no_archive_at_all(rnnspect, tmp_path):
    (tmp_path / "p.npz").write_bytes(b"PK\3\4 and nothing more")
    assert "not a .npz file" in rnnspect("check", "--probe", tmp_path / "p.npz").err
    assert "no such file" in rnnspect("check", "--probe", tmp_path / "none.npz").err


USAGE = {
    "no file": (["probe"], "error: probe needs an output file: -o probe.npz"),
    "another file": (["probe", "-o", "probe.txt"], "cannot write a probe as probe.txt; use a name that ends in .npz"),
    "numbers of its own": (["probe", "-o", "p.npz", "--input", "ones:3"], "unknown option --input"),
    "a spec beside it": (["check", "net.yaml", "--probe", "p.npz"], "error: net.yaml: cannot be combined with --probe"),
    "an option beside it": (["check", "--probe", "p.npz", "--hidden-size", "3"], "--hidden-size: cannot be combined"),
    "a probe of a probe": (["check", "--probe", "p.npz", "--write-probe", "q.npz"], "--write-probe: cannot be"),
    "a probe of several": (
        ["check", "--engine", "torch", "--engine", "torch-cell", "--write-probe", "q.npz"],
        "--write-probe: writes a probe for one run, not several",
    ),
    "a probe in text": (["check", "--write-probe", "q.txt"], "--write-probe: cannot write a probe as q.txt"),
}  # fmt: skip


@pytest.mark.parametrize(("argv", "message"), USAGE.values(), ids=USAGE.keys())
def test_usage(rnnspect, tmp_path, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    result = rnnspect(*argv)
    assert (result.status, result.out) == (2, "")
    assert message in result.err
    assert not list(tmp_path.iterdir())


@pytest.fixture
def undecided(tmp_path):
    """A GRU without biases in r and z, whose b_hn somebody dropped: the arguments that check it."""
    rng = np.random.default_rng(5)
    shapes = {"weight_ih_l0": (9, 4), "weight_hh_l0": (9, 3), "bias_ih_l0": (9,), "bias_hh_l0": (9,)}
    given = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    given["bias_ih_l0"][:] = 0
    given["bias_hh_l0"][:6] = 0
    np.savez(tmp_path / "w.npz", **given)
    x = rng.standard_normal((2, 6, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    case = given | {"x": x, "h0": np.zeros((1, 2, 3))}
    np.savez(tmp_path / "wrong.npz", **gru(case, "b_hn"))
    np.savez(tmp_path / "right.npz", **gru(case))
    spec = ("--cell", "gru", "--input-size", "4", "--hidden-size", "3", "--weights", tmp_path / "w.npz")
    return tmp_path, ("check", *spec, "--input", tmp_path / "x.npy", "--write-probe", tmp_path / "p.npz", "--recorded")


@pytest.mark.slow
def test_a_probe_is_written_where_the_numbers_do_not_tell(rnnspect, undecided):
    folder, argv = undecided
    result = rnnspect(*argv, folder / "wrong.npz", "--format", "json")
    assert result.status == 1
    groups = json.loads(result.out)["indistinguishable"]
    assert {"bias-dropped", "gru-b_hn-dropped"} <= set(groups[0])
    assert f"wrote {folder}/p.npz" in result.err
    without = [one for one in argv if one not in ("--write-probe", folder / "p.npz")]
    assert "--write-probe probe.npz" in rnnspect(*without, folder / "wrong.npz").err
    assert f"rnnspect check --probe {folder}/p.npz --recorded mine.npz" in result.err
    for drop, cause in (("b_hn", "gru-b_hn-dropped"), ("bias_hh", "bias-dropped")):
        with np.load(folder / "p.npz") as given:
            status, document = check(rnnspect, folder / "p.npz", gru(given, drop))
        assert (status, [one["name"] for one in document["causes"]]) == (1, [cause])
        assert document["indistinguishable"] == []


def test_no_probe_is_written_where_nothing_is_undecided(rnnspect, undecided):
    folder, argv = undecided
    result = rnnspect(*argv, folder / "right.npz")
    assert result.status == 0
    assert f"{folder}/p.npz was not written: nothing differs" in result.err
    with np.load(folder / "w.npz") as given:
        arrays = {name: given[name] for name in given}
    case = arrays | {"x": np.load(folder / "x.npy"), "h0": np.zeros((1, 2, 3))}
    case["weight_hh_l0"] = np.concatenate([block.T for block in np.split(case["weight_hh_l0"], 3)])
    np.savez(folder / "wrong.npz", **gru(case))
    result = rnnspect(*argv, folder / "wrong.npz")
    assert result.status == 1
    assert "recurrent-kernel-transposed" in result.out
    assert f"{folder}/p.npz was not written: one known mistake explains the differences" in result.err
    assert not (folder / "p.npz").exists()


def test_a_cell_of_ones_own_is_named_again_as_a_probe_holds_no_code(rnnspect, tmp_path):
    mine, probe = tmp_path / "mine.py", tmp_path / "probe.npz"
    assert rnnspect("init", "--cell", mine).status == 0
    made = rnnspect("probe", "--cell", f"{mine}:mgu", "-o", probe)
    assert f"--cell {mine}:mgu --recorded mine.npz" in made.out.replace("\n", " ")
    assert rnnspect("check", "--probe", probe, "--cell", f"{mine}:mgu", "--engine", f"{mine}:step").status == 0
    mine.write_text(mine.read_text() + "\nOTHER = __import__('dataclasses').replace(CELL, name='other')\n")
    other = rnnspect("check", "--probe", probe, "--cell", f"{mine}:other", "--engine", f"{mine}:step")
    assert other.status == 2
    assert "the probe is of cell 'mgu', not 'other'" in other.err
    assert "cannot be combined with --probe" in rnnspect("check", "--probe", probe, "--cell", "gru").err
