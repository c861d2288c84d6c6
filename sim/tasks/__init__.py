"""Tasks of the twin: one file here and one YAML in `sim/conf/task` each."""
