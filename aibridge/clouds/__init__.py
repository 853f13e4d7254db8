"""Credentials for clouds: found by the clouds' own libraries, which are imported only where they are configured."""
