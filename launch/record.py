"""Records a finished run in one small file, to be published with what it measured.

python -m launch.record --help
"""

from vaeflow.commands import entry

if __name__ == "__main__":
    entry.start("record", prefix="python -m launch.")
