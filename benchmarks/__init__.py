"""What is measured, and how, so that anybody can measure it again."""
