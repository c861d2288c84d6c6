"""Hydra's configuration root; a package so that Hydra finds it in an installed wheel."""
