"""Success from camera images: labels, a small network fitted to them, and the reward that it pays on the robot."""
