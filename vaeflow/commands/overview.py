"""`vaeflow` without a command: its help, its version, and what to do about a wrong name."""

import sys

import vaeflow
from vaeflow import registry
from vaeflow.commands import command_line, programs
from vaeflow.errors import ConfigurationError
from vaeflow.runs.escaping import printable
from vaeflow.runs.program import Program


def main(prefix: str, argument: str) -> int:
    """Answers a first argument that is not a command; returns the exit code."""
    called = Program(prefix)
    if argument in command_line.HELP_FLAGS:
        print(_help(called))
        return 0
    if argument == "--version":
        print(f"vaeflow {vaeflow.__version__}")
        return 0
    print(printable(f"{called.name}: error: {_problem(argument)}"), file=sys.stderr)
    return ConfigurationError.exit_code


def _help(called):
    width = max(map(len, programs.NAMES)) + 2
    lines = [f"  {name:<{width}}{programs.load(name).summary}" for name in programs.NAMES]
    return "\n".join(
        [
            f"usage: {called.invocation} COMMAND [flags]",
            "",
            "Trains variational autoencoders, and uses what was trained.",
            "",
            "commands:",
            *lines,
            "",
            f"`{called.invocation} COMMAND --help` describes a command; --version prints the version.",
        ]
    )


def _problem(argument):
    if not argument or argument.startswith("-"):
        given = f"{argument!r} is not a command" if argument else "a command is missing"
        return f"{given}; give one of {', '.join(programs.NAMES)}, or --help"
    near = registry.did_you_mean(argument, programs.NAMES)
    return f"unknown command {argument!r}{near or '; --help lists the commands'}"
