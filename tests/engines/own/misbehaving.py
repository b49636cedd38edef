"""Engines that go wrong in every way that was met, each a step of a GRU over numpy arrays. test_misbehaving.py
names them by this file's path."""

from __future__ import annotations

import ctypes
import os
import sys
import threading

import numpy as np

BUFFER = np.zeros((1, 4), "f4")


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def right(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh):
    ir, iz, i_n = np.split(x_t @ weight_ih.T + bias_ih, 3, -1)
    hr, hz, hn = np.split(h @ weight_hh.T + bias_hh, 3, -1)
    z, n = sigmoid(iz + hz), np.tanh(i_n + sigmoid(ir + hr) * hn)
    return n + z * (h - n)


class UnreadableError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Shapeless:
    @property
    def shape(self):
        raise RuntimeError("no shape")


class NoArray:
    shape = (1, 4)


class Meta(type):
    def __call__(cls, *_):
        raise RuntimeError("no instance")


class Uncallable(metaclass=Meta):
    pass


class Broken:
    def __init__(self):
        raise RuntimeError("no building")


def raises_value(x_t, h):
    raise ValueError("y" * 100_000 + "\n" * 50 + "\x1b[31m")


def raises_base(x_t, h):
    raise BaseException("base")


def raises_generator_exit(x_t, h):
    raise GeneratorExit


def raises_memory(x_t, h):
    raise MemoryError


def raises_broken_pipe(x_t, h):
    raise BrokenPipeError


def raises_stop(x_t, h):
    raise StopIteration


def raises_recursion(x_t, h):
    return raises_recursion(x_t, h)


def raises_unreadable(x_t, h):
    raise UnreadableError


def exits(x_t, h):
    sys.exit(0)


def raises_interrupt(x_t, h):
    raise KeyboardInterrupt


def nothing(x_t, h):
    return None


def text(x_t, h):
    return "abc"


def narrow(x_t, h):
    return h[:, :-1]


def pair(x_t, h):
    return h, h


def integers(x_t, h):
    return h.astype("i4")


def complex_numbers(x_t, h):
    return h.astype("c8")


def objects(x_t, h):
    return h.astype(object)


def strings(x_t, h):
    return h.astype(str)


def masked(x_t, h):
    return np.ma.masked_array(h, mask=True)


def no_array(x_t, h):
    return NoArray()


def shapeless(x_t, h):
    return Shapeless()


def generator(x_t, h):
    yield h


async def coroutine(x_t, h):
    return h


def sequence_list(x, h):
    return [x, h]


def sequence_wrong(x, h):
    return x, h


def asks(x_t, h, weigth_ih):
    return h


def any_arguments(*_, **__):
    return 3


number = 3


# From here on: right, beside what they should not do.


def writes_into_what_it_got(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh):
    given = right(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh)
    x_t[:] = h[:] = 0
    return given


def one_buffer(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh):
    BUFFER[:] = right(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh)
    return BUFFER


def backwards_in_memory(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh):
    given = right(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh)
    return np.ascontiguousarray(given[:, ::-1])[:, ::-1].astype(">f4")


def read_only(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh):
    given = right(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh)
    given.flags.writeable = False
    return given


def changes_folder(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh):
    os.chdir("/")
    return right(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh)


def prints(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh):
    print("printed")
    os.write(1, b"written to file 1\n")
    return right(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh)


def closes_stdout(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh):
    if sys.__stdout__ is not None:
        sys.__stdout__.close()
    return right(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh)


def forks(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    return right(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh)


def fails_in_a_thread(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh):
    one = threading.Thread(target=lambda: 1 / 0)
    one.start()
    one.join()
    return right(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh)


# And these end the process.


def ends_with_0(x_t, h):
    os._exit(0)


def ends_with_1(x_t, h):
    os._exit(1)


def crashes(x_t, h):
    ctypes.string_at(0)


def kills_itself(x_t, h):
    os.kill(os.getpid(), 9)


def sleeps(x_t, h):
    import time

    time.sleep(1000)


def holds_the_lock(x_t, h):
    """One long call that answers no signal and lets no other thread run."""
    return sum(range(10**11))
