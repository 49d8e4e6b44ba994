"""The command line: the Python interface, one command for each thing that people do.

The commands' words are in ``_app``, which imports nothing heavy, so that help comes at once; what a
command does is in the file of its group, which is imported when it runs. All choices come from the
tables of the library: ``MODELS``, ``UNITS``, ``RULES``, ``ESTIMATORS``, ``SCHEDULES``, ``DATASETS``.

A command leaves 0 if it did what it was asked, 1 if it failed, 2 if it was mistyped, and 130 if Ctrl-C
ended it. Training is the exception: Ctrl-C or SIGTERM ends it early but well, after the update at hand,
so it saves what there is, says how to go on, and leaves 0. Results go to the standard output; progress,
and mistakes in one line each, to the standard error.
"""

from ._app import app, main

__all__ = ["app", "main"]
