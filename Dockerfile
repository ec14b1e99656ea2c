# Airflow with this project. The same pinned packages as on a laptop.
FROM apache/airflow:3.3.2-python3.11

COPY requirements.txt /tmp/requirements.txt
# Also as constraints: to pip, celery and the celery[redis] that a provider asks for are two packages.
RUN pip install --no-cache-dir --require-hashes -r /tmp/requirements.txt -c /tmp/requirements.txt

# Installed for its entry points (connection type, command line); the code itself is read from below.
COPY --chown=airflow:root pyproject.toml /opt/kraken-recon/
COPY --chown=airflow:root include /opt/kraken-recon/include
RUN pip install --no-cache-dir --no-deps /opt/kraken-recon

COPY --chown=airflow:root dags /opt/airflow/dags
COPY --chown=airflow:root plugins /opt/airflow/plugins
COPY --chown=airflow:root config /opt/airflow/config
COPY --chown=airflow:root desk_books /opt/airflow/desk_books
COPY --chown=airflow:root docs /opt/airflow/docs
COPY --chown=airflow:root include /opt/airflow/include
ENV PYTHONPATH=/opt/airflow/include
