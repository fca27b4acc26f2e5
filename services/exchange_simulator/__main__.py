"""Start the exchange simulator."""

import sys

from services.exchange_simulator.edge import main

sys.exit(main(sys.argv[1:]))
