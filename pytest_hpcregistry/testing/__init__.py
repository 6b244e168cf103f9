"""For authors of tests: a transport with prepared answers, facts and SIF files made by hand. Python 3.11."""
