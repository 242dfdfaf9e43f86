"""Pictures and tables of models and runs."""
