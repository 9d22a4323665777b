"""The composition root: ``service`` puts a running service together, ``offices`` what the operator asks."""
