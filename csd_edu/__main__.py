import sys

from csd_edu.cli import main

sys.exit(main())
