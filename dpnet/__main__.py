"""`python -m dpnet`: the command `dpnet`."""

import sys

from dpnet.host.start import main

if __name__ == "__main__":
    sys.exit(main())
