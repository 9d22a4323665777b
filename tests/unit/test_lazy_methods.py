"""What only some methods need is imported when somebody uses them, not with the service."""

import subprocess
import sys


def test_the_methods_load_neither_a_jwt_library_nor_an_http_client() -> None:
    code = (
        "import sys, keyborn.wiring.methods, keyborn.adapters.outbound as o; o.HttpsOutbound(); "
        "print([name for name in ('jwt', 'h11', 'keyborn.service.methods.jose') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
