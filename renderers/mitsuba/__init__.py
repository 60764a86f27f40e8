"""The backend that traces rays with Mitsuba 3."""
