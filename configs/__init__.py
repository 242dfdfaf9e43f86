"""One file, one experiment; base.py holds every setting."""
