"""The reliability rig: clients with a ledger, a nemesis, the simulated SES as the oracle, and a checker.

`python -m tests.chaos list` names the scenarios; docs/reliability.md says what they show.
"""
