"""The stack of the template: what it says about itself, and how it comes and goes."""
