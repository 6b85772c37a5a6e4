"""aiosmtpd's own test-suite, run against our protocol: `make aiosmtpd-tests`.

Nothing of it is kept here. `__main__` fetches the source distribution of the locked version, `plugin` puts `server` in
the place of aiosmtpd's class and holds the outcome against `deviations.toml`.
"""
