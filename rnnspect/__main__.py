"""`python -m rnnspect`, and what the command `rnnspect` starts with."""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Until the command line answers it: a Ctrl-C while modules are loaded ends the process, without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from rnnspect.cli import entry_point as entry_point

if __name__ == "__main__":
    entry_point()
