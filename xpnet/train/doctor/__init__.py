"""What a machine gives xpnet, and whether the numbers are right: the report of `scripts/doctor.py`."""
