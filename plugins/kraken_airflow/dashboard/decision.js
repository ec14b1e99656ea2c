// Answers one held repair at Airflow's own address for its question, as whoever is signed in. It asks nobody else.
"use strict";
(() => {
  const PATIENCE_SECONDS = 15;
  // An answer is acted on by a task; these long after it the page is looked at anew.
  const LOOK_AGAIN_SECONDS = [2, 6, 15, 30];
  // In these states the task that asks can hear an answer.
  const WAITING = ["awaiting_input", "deferred"];
  const REFUSED = {
    401: "You are signed in no longer: load the page again.",
    403: "Airflow does not let you answer: your role may not, or the question is for others.",
    404: "Airflow does not ask yet, or no longer: the next position_sync asks. The command line can decide now.",
  };

  // A refresh replaces what stands here, so it is looked up each time.
  const section = () => document.querySelector("#decision:has(.answers)");

  const show = (words, mayAnswer) => {
    const answers = section()?.querySelector(".answers");
    if (!answers) return;
    section().querySelector(".told").textContent = words;
    answers.hidden = !mayAnswer;
    for (const button of answers.querySelectorAll("button")) button.disabled = !mayAnswer;
  };

  const call = async (method, body) => {
    try {
      return await fetch(section().dataset.question, {
        method,
        body,
        cache: "no-store",
        headers: { "Content-Type": "application/json" },
        redirect: "error",
        signal: AbortSignal.timeout(PATIENCE_SECONDS * 1000),
      });
    } catch {
      return null;
    }
  };

  const told = (question) => {
    const who = question.responded_by_user?.name ?? "Nobody in time, which means no";
    return `Answered: ${question.chosen_options.join(", ")} (${who}). What comes of it stands above soon.`;
  };

  const lookAgain = () => {
    for (const seconds of LOOK_AGAIN_SECONDS) {
      setTimeout(() => section() && document.dispatchEvent(new Event("outdated")), seconds * 1000);
    }
  };

  const look = async (before = "") => {
    if (!section()) return;
    const reply = await call("GET");
    if (!reply) return show(`${before}Airflow cannot be reached; load the page again.`, false);
    if (!reply.ok) return show(REFUSED[reply.status] ?? `Airflow answers ${reply.status}.`, false);
    const question = await reply.json();
    const { state } = question.task_instance;
    if (question.response_received) show(before + told(question), false);
    else if (WAITING.includes(state)) show(`${before}Your answer counts once and at once.`, true);
    else show(`The task that asks is ${state}, and hears no answer: see it in Airflow.`, false);
  };

  const answer = async (choice) => {
    show(`${choice}: being sent.`, false);
    const reply = await call("PATCH", JSON.stringify({ chosen_options: [choice], params_input: {} }));
    if (reply && !reply.ok && reply.status !== 409) {
      return show(REFUSED[reply.status] ?? `Airflow answers ${reply.status}; nothing was decided.`, false);
    }
    // Without a reply it may have arrived; and whoever comes second is told who won.
    await look(reply?.status === 409 ? "Somebody else was first. " : reply ? "" : "No reply came. ");
    lookAgain();
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("#decision .answers button");
    if (!button) return;
    button.blur(); // so that the page counts as let go, and is refreshed
    answer(button.value);
  });
  document.addEventListener("refreshed", () => look());
  look();
})();
