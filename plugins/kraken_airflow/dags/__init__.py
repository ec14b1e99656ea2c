"""The DAGs, one in each module; a DAG folder names each with one line, as the files of ``dags`` do.

Airflow looks into a file only if it holds the words "dag" and "airflow", which such a line does.
"""

from __future__ import annotations
