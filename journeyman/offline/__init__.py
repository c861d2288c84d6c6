"""Data sets that others recorded, D4RL's HDF5 files and Minari's folders, as transitions; see docs/offline.md."""
