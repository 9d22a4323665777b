"""The command ``keyborn`` for a deployment that is not about building: the code is built once for a run.

    python kept_keyborn.py FOLDER aws deploy …

``FOLDER``: where ``support.packages.kept`` keeps it. All else is the command's own doing.
"""

import sys
from functools import partial
from pathlib import Path


def keyborn(folder: Path) -> None:
    """The command, with the words that are left; it ends the process."""
    from keyborn.adapters.aws.stack import deploy
    from keyborn.cli.main import main
    from support import packages

    vars(deploy)["build_package"] = partial(packages.kept, folder)
    main()


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    sys.argv[0] = "keyborn"
    keyborn(Path(sys.argv.pop(1)))
