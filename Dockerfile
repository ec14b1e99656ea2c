# Airflow with this project. The same pinned packages as on a laptop.
FROM apache/airflow:3.3.2-python3.11

COPY requirements.txt /tmp/requirements.txt
# Also as constraints: to pip, celery and the celery[redis] that a provider asks for are two packages.
RUN pip install --no-cache-dir --require-hashes -r /tmp/requirements.txt -c /tmp/requirements.txt

# The two distributions of this repository: the provider, and the simulator for trying it out. What runs is the
# installed code; an edit needs a new image.
COPY pyproject.toml README.md LICENSE /tmp/kraken-recon/
COPY include /tmp/kraken-recon/include
COPY plugins /tmp/kraken-recon/plugins
COPY docs /tmp/kraken-recon/docs
RUN pip install --no-cache-dir --no-deps /tmp/kraken-recon /tmp/kraken-recon/include/kraken_sim

COPY --chown=airflow:root dags /opt/airflow/dags
COPY --chown=airflow:root desk_books /opt/airflow/desk_books
