"""Every picture that the project draws, in one style."""
