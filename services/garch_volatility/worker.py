"""What runs in the worker process that makes the fits; imports nothing but what a fit needs."""

import os
import signal
import sys
import threading
from multiprocessing import parent_process

from common.errors import InvariantBroken
from services.garch_volatility.fitting import FitRequest
from services.garch_volatility.volatility import Fit

#: With more than one thread the last digits of a fit depend on the number of cores.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def use_one_thread() -> None:
    """Tell the numeric libraries to use one thread; a process that makes fits itself calls this before it imports `arch_fit`.

    They look once, when they are loaded; raises InvariantBroken when that has happened already.
    """
    if all(os.environ.get(name) == "1" for name in _THREADS):
        return
    if "scipy.linalg" in sys.modules:
        raise InvariantBroken(f"fits must run on one thread, but the numeric libraries are loaded already; start with {'=1 '.join(_THREADS)}=1")
    os.environ.update(dict.fromkeys(_THREADS, "1"))


def prepare() -> None:
    """Set up a worker: one thread for numbers, no share in the terminal's signals, no life without the parent."""
    use_one_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def warm_up() -> None:
    """Import what a fit needs, so that the first one does not wait for it."""
    from services.garch_volatility import arch_fit  # noqa: F401, PLC0415 - after `prepare`, and in this process only


def fit(request: FitRequest) -> Fit:
    """Make one fit."""
    from services.garch_volatility import arch_fit  # noqa: PLC0415 - after `prepare`, and in this process only

    return arch_fit.fit(request)


def _end_with_parent() -> None:
    if parent := parent_process():
        parent.join()
        os._exit(1)
