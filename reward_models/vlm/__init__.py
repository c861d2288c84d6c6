"""Success judged by a vision-language model behind an HTTP endpoint."""
