"""`python -m gateway.cli`, as the supervisor starts its children: no script has to be on the PATH."""

from gateway.cli.main import main

main()
