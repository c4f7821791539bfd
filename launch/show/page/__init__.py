"""A run, or several, as one HTML page: in a file (report.html), served live, or side by side."""
