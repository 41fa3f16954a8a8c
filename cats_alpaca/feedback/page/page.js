// What Gradio does not do: name the language, let the telephone choose a date, read messages aloud, and say that nothing
// arrived when a request fails.
(() => {
    const language = /\/en\/?$/.test(location.pathname) ? "en" : "ja";
    const page = document.documentElement;

    const mend = (changes) => {
        if (page.lang !== language) page.lang = language; // Gradio names the browser's language, not the page's
        for (const field of document.querySelectorAll("#date input")) {
            if (field.type !== "date") field.type = "date";
        }
        for (const said of document.querySelectorAll(".said:not([aria-live])")) said.setAttribute("aria-live", "polite");
        // Gradio counts seconds where a message will stand: that is none yet.
        const said = changes.map((one) => one.target.closest?.(".said")).find((one) => one?.querySelector(".good, .bad"));
        said?.scrollIntoView({ block: "nearest" }); // what was pressed may be far below
    };
    new MutationObserver(mend).observe(page, { childList: true, subtree: true, attributeFilter: ["lang"] });

    const warn = (text) => {
        let place = document.getElementById("trouble");
        if (!place) {
            place = document.createElement("div");
            place.id = "trouble";
            place.setAttribute("role", "alert");
            document.body.append(place);
        }
        place.hidden = !text;
        place.textContent = text;
    };
    // Gradio would load the page anew after a connection was lost, and with it what was typed. So a failure is told here,
    // and Gradio hears that nothing changed: the same button can be pressed again.
    const asked = ({ body }) => {
        const { fn_index } = JSON.parse(body);
        return window.gradio_config.dependencies.find((one) => one.id === fn_index);
    };
    const nothing = ({ outputs }) => {
        return Response.json({ data: outputs.map(() => ({ __type__: "update" })), is_generating: false });
    };
    // One request after the other, in the order of the presses: what was allowed last, or taken back, must stand last.
    // But none waits for ever, nor for a model's answer.
    const send = window.fetch;
    let before = Promise.resolve();
    const inTurn = (place, options) => {
        if (asked(options).api_name.startsWith("draft")) return send(place, options);
        const patience = new Promise((go) => setTimeout(go, 5000));
        const answer = Promise.race([before, patience]).then(() => send(place, options));
        before = answer.catch(() => null);
        return answer;
    };
    window.fetch = async (place, options) => {
        if (!String(place?.url ?? place).includes("/run/predict")) return send(place, options);
        const answer = await inTurn(place, options).catch(() => null);
        warn(answer?.ok ? "" : answer?.status === 401 ? SIGNED_OUT[language] : FAILED[language]);
        return answer?.ok ? answer : nothing(asked(options));
    };
})();
