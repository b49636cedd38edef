"""Makes files.zip: small files that TensorFlow itself wrote, and the numbers of a run of each.

    python make.py FOLDER files.zip

It takes tensorflow and tf_keras (made with 2.21, in an environment of its own), which no test needs. Every NAME.npz
holds an input x (B, T, I) and the output y of all steps.
"""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
import tf_keras

v1 = tf.compat.v1
cells, nn = v1.nn.rnn_cell, v1.nn
B, T, I, H = 2, 4, 3, 5  # noqa: E741 - the field's letters
X = np.random.default_rng(0).normal(size=(B, T, I)).astype("float32")
DIAGONALS = ("w_i_diag", "w_f_diag", "w_o_diag")


def loop(cell, x):
    return nn.dynamic_rnn(cell, x, dtype=tf.float32)[0]


def both(make, x):
    return tf.concat(nn.bidirectional_dynamic_rnn(make(), make(), x, dtype=tf.float32)[0], -1)


def deep(*made):
    return cells.MultiRNNCell(list(made))


def variables(scope, shapes):
    with v1.variable_scope(scope):
        return [v1.get_variable(name, shape) for name, shape in shapes.items()]


def block(x, second=False, peepholes=False, **more):
    """As tf.contrib.rnn.LSTMBlockFusedCell calls the operator."""
    w, b = variables("lstm_fused_cell", {"kernel": [I + H, 4 * H], "bias": [4 * H]})
    p = variables("lstm_fused_cell", {key: [H] for key in DIAGONALS}) if peepholes else 3 * [tf.zeros([H])]
    zeros = tf.zeros([B, H])
    given = {"seq_len_max": tf.constant(T, tf.int64), "x": tf.transpose(x, [1, 0, 2]), "w": w, "b": b, "cell_clip": -1}
    given |= dict(zip(("wci", "wcf", "wco"), p, strict=True)) | {"use_peephole": peepholes}
    run = tf.raw_ops.BlockLSTMV2 if second else tf.raw_ops.BlockLSTM
    return tf.transpose(run(cs_prev=zeros, h_prev=zeros, **given, **more).h, [1, 0, 2])


def block_cell(x, clip=-1.0):
    """As tf.contrib.rnn.LSTMBlockCell calls the operator, step by step."""
    w, b = variables("rnn/lstm_cell", {"kernel": [I + H, 4 * H], "bias": [4 * H]})
    h = c = tf.zeros([B, H])
    p, found = tf.zeros([H]), []
    for t in range(T):
        step = tf.raw_ops.LSTMBlockCell(x=x[:, t], cs_prev=c, h_prev=h, w=w, wci=p, wcf=p, wco=p, b=b, cell_clip=clip)
        c, h = step.cs, step.h
        found.append(h)
    return tf.stack(found, 1)


def gru_block_cell(x):
    """As tf.contrib.rnn.GRUBlockCellV2 calls the operator."""
    shapes = {"gates/kernel": [I + H, 2 * H], "gates/bias": [2 * H], "candidate/kernel": [I + H, H]}
    w_ru, b_ru, w_c, b_c = variables("rnn/gru_cell", shapes | {"candidate/bias": [H]})
    h, found = tf.zeros([B, H]), []
    for t in range(T):
        h = tf.raw_ops.GRUBlockCell(x=x[:, t], h_prev=h, w_ru=w_ru, w_c=w_c, b_ru=b_ru, b_c=b_c).h
        found.append(h)
    return tf.stack(found, 1)


def layers():
    """Those of Keras in TensorFlow 1, with hard_sigmoid and, in each step, a product for each gate."""
    return v1.keras.layers


ONE = {
    "basic_lstm": lambda x: loop(cells.BasicLSTMCell(H), x),
    "basic_lstm_forget_0": lambda x: loop(cells.BasicLSTMCell(H, forget_bias=0.0), x),
    "basic_lstm_relu": lambda x: loop(cells.BasicLSTMCell(H, activation=tf.nn.relu), x),
    "lstm_forget_half": lambda x: loop(cells.LSTMCell(H, forget_bias=0.5), x),
    "lstm_peepholes": lambda x: loop(cells.LSTMCell(H, use_peepholes=True), x),
    "lstm_projection": lambda x: loop(cells.LSTMCell(H, num_proj=2), x),
    "lstm_peepholes_projection": lambda x: loop(cells.LSTMCell(H, use_peepholes=True, num_proj=2), x),
    "lstm_clip": lambda x: loop(cells.LSTMCell(H, cell_clip=0.3), x),
    "gru": lambda x: loop(cells.GRUCell(H), x),
    "gru_relu": lambda x: loop(cells.GRUCell(H, activation=tf.nn.relu), x),
    "rnn": lambda x: loop(cells.BasicRNNCell(H), x),
    "rnn_relu": lambda x: loop(cells.BasicRNNCell(H, activation=tf.nn.relu), x),
    "deep_lstm": lambda x: loop(deep(*(cells.BasicLSTMCell(H) for _ in range(3))), x),
    "deep_gru": lambda x: loop(deep(cells.GRUCell(H), cells.GRUCell(H)), x),
    "both_lstm": lambda x: both(lambda: cells.BasicLSTMCell(H), x),
    "both_gru": lambda x: both(lambda: cells.GRUCell(H), x),
    "both_deep_gru": lambda x: both(lambda: deep(cells.GRUCell(H), cells.GRUCell(H)), x),
    "unrolled": lambda x: tf.stack(nn.static_rnn(cells.LSTMCell(H), tf.unstack(x, axis=1), dtype=tf.float32)[0], 1),
    "lstm_and_dense": lambda x: v1.layers.dense(loop(cells.BasicLSTMCell(8), v1.layers.dense(x, 8)), H - 1),
    "block": block,
    "block_forget_quarter": lambda x: block(x, forget_bias=0.25),
    "block_peepholes": lambda x: block(x, peepholes=True),
    "block_v2": lambda x: block(x, second=True),
    "block_v2_peepholes": lambda x: block(x, second=True, peepholes=True),
    "block_cell": block_cell,
    "block_cell_clip": lambda x: block_cell(x, 0.3),
    "gru_block_cell": gru_block_cell,
    "layer_lstm": lambda x: layers().LSTM(H, return_sequences=True)(x),
    "layer_gru": lambda x: layers().GRU(H, return_sequences=True)(x),
    "layer_gru_after": lambda x: layers().GRU(H, return_sequences=True, reset_after=True)(x),
    "layer_both": lambda x: layers().Bidirectional(layers().LSTM(H, return_sequences=True))(x),
}
CHECKPOINTS = ("basic_lstm", "lstm_peepholes", "gru", "deep_lstm", "both_lstm", "block_forget_quarter", "rnn_relu")
LAYERS = tf_keras.layers
SEQUENCES = {"return_sequences": True}
KERAS = {
    "keras_lstm": lambda: [LAYERS.LSTM(H, **SEQUENCES)],
    "keras_back": lambda: [LAYERS.LSTM(H, go_backwards=True, **SEQUENCES)],
    "keras_square": lambda: [LAYERS.LSTM(I, **SEQUENCES)],
    "keras_lstm_hard": lambda: [LAYERS.LSTM(H, recurrent_activation="hard_sigmoid", **SEQUENCES)],
    "keras_gru": lambda: [LAYERS.GRU(H, **SEQUENCES)],
    "keras_gru_before": lambda: [LAYERS.GRU(H, reset_after=False, activation="relu", **SEQUENCES)],
    "keras_rnn": lambda: [LAYERS.SimpleRNN(H, **SEQUENCES)],
    "keras_both": lambda: [LAYERS.Bidirectional(LAYERS.LSTM(H, **SEQUENCES))],
    "keras_deep": lambda: [LAYERS.LSTM(H, **SEQUENCES), LAYERS.Dense(4), LAYERS.GRU(6, **SEQUENCES)],
}


def drawn(shapes):
    draw = np.random.default_rng(1)
    return [draw.normal(size=shape).astype("float32") / 2 for shape in shapes]


def of_tensorflow_1(folder: Path) -> None:
    for name, build in ONE.items():
        graph = tf.Graph()
        with graph.as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, [B, T, I], name="x")
            y = tf.identity(build(x), name="y")
            every = v1.global_variables()
            for variable, values in zip(every, drawn([v.shape.as_list() for v in every]), strict=True):
                variable.load(values, session)
            np.savez(folder / f"{name}.npz", x=X, y=session.run(y, {x: X}))
            frozen = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ["y"])
            (folder / f"{name}.pb").write_bytes(frozen.SerializeToString())
            if name in CHECKPOINTS:
                (folder / name).mkdir()
                v1.train.Saver().save(session, str(folder / name / "model.ckpt"))
            if name == "basic_lstm":
                v1.saved_model.simple_save(session, str(folder / "basic_lstm_saved"), {"x": x}, {"y": y})


def of_keras(folder: Path) -> None:
    """SavedModels and weights; of saved_model.pb without the traced functions, which make it a hundred times longer."""
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2 as freeze

    for name, build in KERAS.items():
        tf_keras.backend.clear_session()
        model = tf_keras.Sequential([LAYERS.Input((None, I)), *build()])
        model.set_weights(drawn([weight.shape for weight in model.get_weights()]))
        y = model(X).numpy()
        np.savez(folder / f"{name}.npz", x=X, y=y[:, ::-1] if name == "keras_back" else y)
        model.save(folder / name, save_format="tf")
        model.save_weights(folder / f"{name}_weights" / "ckpt")
        saved = saved_model_pb2.SavedModel()
        path = folder / name / "saved_model.pb"
        saved.ParseFromString(path.read_bytes())
        saved.meta_graphs[0].ClearField("graph_def")
        saved.meta_graphs[0].meta_info_def.ClearField("stripped_op_list")
        path.write_bytes(saved.SerializeToString())
        run = tf.function(lambda x, model=model: model(x)).get_concrete_function(tf.TensorSpec([B, T, I], tf.float32))
        for ending, lowered in (("frozen", True), ("frozen_while", False)):
            graph = freeze(run, lower_control_flow=lowered).graph.as_graph_def()
            (folder / f"{name}_{ending}.pb").write_bytes(graph.SerializeToString())


def of_keras_3(folder: Path) -> None:
    import keras

    lstm, gru, rnn = keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN
    made = {
        "exported_lstm": (lstm, {}),
        "exported_gru": (gru, {}),
        "exported_gru_no_bias": (gru, {"use_bias": False}),
        "exported_gru_before_no_bias": (gru, {"use_bias": False, "reset_after": False}),
        "exported_lstm_hard": (lstm, {"recurrent_activation": "hard_sigmoid"}),
        "exported_gru_before_hard": (gru, {"recurrent_activation": "hard_sigmoid", "reset_after": False}),
        "exported_rnn_leaky": (rnn, {"activation": "leaky_relu"}),
        "exported_gru_relu": (gru, {"activation": "relu"}),
        "exported_back": (gru, {"go_backwards": True}),
    }
    for name, (layer, keys) in made.items():
        export(folder, name, layer(H, return_sequences=True, **keys), turned=name == "exported_back")
    for mode in ("concat", "sum", "ave", "mul"):
        both = keras.layers.Bidirectional(lstm(H, return_sequences=mode != "sum"), merge_mode=mode)
        export(folder, f"exported_both_{mode}", both)


def export(folder: Path, name: str, layer, turned=False) -> None:
    import keras

    model = keras.Sequential([keras.layers.Input((T, I)), layer])
    model.set_weights(drawn([weight.shape for weight in model.get_weights()]))
    y = np.array(model(X))
    np.savez(folder / f"{name}.npz", x=X, y=y[:, ::-1] if turned else y)
    model.export(folder / name)


def main(folder: Path, archive: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    of_keras(folder)
    of_keras_3(folder)
    v1.disable_eager_execution()
    v1.disable_v2_behavior()
    of_tensorflow_1(folder)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name != "fingerprint.pb":
                packed.write(path, path.relative_to(folder))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
