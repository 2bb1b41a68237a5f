"""What people read: the release page, its plots, and JUnit XML."""
