"""Where the figures of a run go beside its journal: TensorBoard, W&B, Prometheus. One file and one YAML for each."""
