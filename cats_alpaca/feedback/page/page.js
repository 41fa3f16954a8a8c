// What Gradio does not do: name the language, let the telephone choose a date, read messages aloud, and say that nothing
// arrived when a request fails.
(() => {
    const english = /\/en\/?$/.test(location.pathname);
    const lost = english ? FAILED_EN : FAILED_JA;
    const page = document.documentElement;

    const mend = () => {
        const language = english ? "en" : "ja";
        if (page.lang !== language) page.lang = language; // Gradio names the browser's language, not the page's
        for (const field of document.querySelectorAll("#date input")) {
            if (field.type !== "date") field.type = "date";
        }
        for (const said of document.querySelectorAll(".said:not([aria-live])")) said.setAttribute("aria-live", "polite");
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
    const send = window.fetch;
    window.fetch = async (...request) => {
        const deed = String(request[0]?.url ?? request[0]).includes("/run/predict");
        try {
            const answer = await send(...request);
            if (deed) warn(answer.ok ? "" : lost);
            return answer;
        } catch (error) {
            if (deed) warn(lost);
            throw error;
        }
    };
})();
