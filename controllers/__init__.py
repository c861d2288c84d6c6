"""Control mathematics in numpy: the same code runs beside the robot and inside the twin."""
