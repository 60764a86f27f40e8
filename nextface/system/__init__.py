"""What the operating system is asked for: files, threads, processes, signals, memory."""
