"""What a person drives by, each behind the `Teleoperator` protocol. One file per device."""
