//! The page for everybody: by keyboard, by ear, in both colour schemes, on a telephone.

use serde_json::json;

use super::canned::{Answers, Canned, SERVICE, drain, endpoint, record, service, with};

/// A page with everything on it that it can show at once.
fn everything() -> Option<Canned> {
    let drained = json!({"admin_state": {"state": "drain", "by": "ada", "reason": "its disk fails"}});
    let late = json!({"deadline_seconds": 5.0, "deadline": super::canned::BEGAN, "will_be_cut": 3, "cut": 1});
    Canned::open(&Answers {
        services: [service(SERVICE, 1, 2), with(service("default/db:sql", 0, 1), json!({"draining": 1}))]
            .into(),
        endpoints: [
            endpoint(1, Some([true, true, false]), true),
            with(endpoint(2, Some([false, false, true]), false), drained),
            endpoint(3, None, false),
        ]
        .into(),
        records: [record(1), with(record(2), json!({"undone": true})), with(record(3), json!({"broken": 1}))]
            .into(),
        drains: [drain(1), with(drain(2), late)].into(),
    })
}

/// One browser for all of it: its start is what takes time.
#[test]
fn the_page_can_be_read_and_used_by_everybody() {
    let Some(mut page) = everything() else { return };
    page.browser.until("drains are shown", "document.querySelectorAll('.card').length === 2");
    page.browser.until("endpoints are shown", "document.querySelectorAll('td.action button').length === 3");
    page.browser.until("the audit is shown", "document.querySelectorAll('#audit tr').length === 3");
    everything_has_a_name(&mut page);
    news_are_told(&mut page);
    everything_is_reached_by_keyboard(&mut page);
    // With a banner too, and with what a dialog has to say.
    page.refuse("/v1/undrain", 404);
    page.browser.click(".card .undrain");
    page.browser.until("it is refused", "document.querySelector('#trouble').checkVisibility()");
    nothing_sticks_out(&mut page);
    texts_can_be_read(&mut page);
    page.browser.click("td.action button");
    page.browser.value("document.querySelector('#drain-deadline').value = 'soon'");
    page.browser.click("#drain-send");
    page.browser
        .until("a wrong time is said", "document.querySelector('#drain-wrong').textContent.includes('90s')");
    let names = page.browser.named(&["dialog", "textbox", "button"]);
    for name in [
        "dialog Drain an endpoint",
        "textbox Reason, for other operators",
        "textbox Deadline, such as 90s or 10m; empty for what the service's settings say",
        "button Cancel",
        "button Drain",
    ] {
        assert!(names.iter().any(|it| it == name), "{name}: {names:?}");
    }
    texts_can_be_read(&mut page);
    assert_eq!(page.browser.complaints(), [] as [String; 0]);
}

/// A screen reader says of each thing which one it is.
fn everything_has_a_name(page: &mut Canned) {
    let mut names =
        page.browser.named(&["button", "progressbar", "heading", "table", "list", "columnheader", "link"]);
    names.sort();
    names.dedup();
    let mut expected = Vec::from([
        "button Drain 10.0.0.1:80 of default/web:http",
        "button Undrain 10.0.0.1:80 of default/web:http",
        "button Undrain 10.0.0.2:80 of default/web:http",
        "columnheader Action",
        "columnheader Admin state",
        "columnheader Broken",
        "columnheader By client",
        "columnheader By endpoint",
        "columnheader Cut",
        "columnheader Ended",
        "columnheader Endpoint",
        "columnheader Flows",
        "columnheader Left",
        "columnheader New after",
        "columnheader New flows",
        "columnheader Other",
        "columnheader Outcome",
        "columnheader Ready",
        "columnheader Serving",
        "columnheader Shed",
        "columnheader Terminating",
        "columnheader Took",
        "heading 10.0.0.1:80",
        "heading 10.0.0.2:80",
        "heading Audit",
        "heading Draining 2",
        "heading Services and endpoints",
        "heading Tidegate",
        "link Skip to the drains",
        "list Draining 2",
        "progressbar Flows of 10.0.0.1:80 that have ended",
        "progressbar Flows of 10.0.0.2:80 that have ended",
        "table Audit",
        "table Endpoints of default/db:sql",
        "table Endpoints of default/web:http",
    ]);
    expected.sort_unstable();
    assert_eq!(names, expected);
    let landmarks = "['header', 'main', 'footer', 'main section[aria-labelledby]'].every((it) => \
                     document.querySelector(it)) && document.documentElement.lang === 'en'";
    assert_eq!(page.browser.value(landmarks), json!(true));
    // A table is one on a narrow screen too, where its parts are no longer displayed as such.
    page.browser.width(360);
    let cells = page.browser.named(&["cell", "row", "columnheader"]).len();
    page.browser.width(1280);
    assert_eq!(page.browser.named(&["cell", "row", "columnheader"]).len(), cells);
}

/// What changes without having been looked at is said; what is wrong, at once.
fn news_are_told(page: &mut Canned) {
    let how = "['#said', '#trouble', '#drain-wrong', '#token-why'].map((it) => {
        const part = document.querySelector(it);
        return part.getAttribute('aria-live') ?? part.getAttribute('role');
    })";
    assert_eq!(page.browser.value(how), json!(["polite", "alert", "alert", "alert"]));
}

/// By Tab, with the skip link first, which is seen then; and where the focus is has an outline.
fn everything_is_reached_by_keyboard(page: &mut Canned) {
    let focused = "(() => {
        const it = document.activeElement;
        const name = it.getAttribute('aria-label') ?? it.innerText;
        return it.getBoundingClientRect().right > 0 ? name.split('\\n')[0] : `${name}, which is not seen`;
    })()";
    let reached = [(); 6].map(|()| {
        page.browser.press("Tab");
        page.browser.value(focused)
    });
    assert_eq!(
        reached,
        [
            "Skip to the drains",
            "Undrain 10.0.0.1:80 of default/web:http",
            "Undrain 10.0.0.2:80 of default/web:http",
            SERVICE,
            "Drain 10.0.0.1:80 of default/web:http",
            "Undrain 10.0.0.2:80 of default/web:http",
        ]
    );
    let outline =
        "[...document.styleSheets[0].cssRules].filter((it) => it.selectorText?.includes(':focus-visible'))
                   .map((it) => it.style.outline)";
    assert_eq!(page.browser.value(outline), json!(["3px solid var(--main)"]));
}

/// From a wide screen to a telephone's, where each number has its word beside it.
fn nothing_sticks_out(page: &mut Canned) {
    for width in [1280, 700, 360] {
        page.browser.width(width);
        let sizes = "[window.innerWidth, document.documentElement.scrollWidth - document.documentElement.clientWidth]";
        assert_eq!(page.browser.value(sizes), json!([width, 0]));
        let clipped = "[...document.querySelectorAll('table')].filter((it) => it.scrollWidth > it.clientWidth + 1).length";
        assert_eq!(page.browser.value(clipped), json!(0), "a table sticks out at {width}");
        texts_can_be_read(page);
    }
    let words =
        "[...document.querySelectorAll('td[data-label]')].filter((it) => it.checkVisibility()).every((it) =>
                 getComputedStyle(it, '::before').content === JSON.stringify(it.dataset.label))";
    assert_eq!(page.browser.value(words), json!(true), "a number without its word");
    page.browser.width(1280);
}

/// In both colour schemes, which are two; and no word is said by colour alone.
fn texts_can_be_read(page: &mut Canned) {
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        page.browser.prefer(scheme);
        assert_eq!(page.browser.value(CONTRAST), json!([]), "too little contrast in {scheme}");
        let ground = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)";
        let ground: [u32; 3] = serde_json::from_value(page.browser.value(ground)).unwrap();
        grounds.push(ground.iter().sum::<u32>() / 3);
    }
    assert!(grounds[0] > 200 && grounds[1] < 50, "light and dark: {grounds:?}");
    let wordless =
        "[...document.querySelectorAll('.chip')].filter((it) => !/[a-z]{2}/.test(it.textContent)).length";
    assert_eq!(page.browser.value(wordless), json!(0));
}

/// The texts whose contrast with what is behind them is below 4.5 (WCAG 2.2, 1.4.3).
const CONTRAST: &str = "(() => {
    const parse = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = (color) => {
        const [r, g, b] = color.map((part) => {
            const c = part / 255;
            return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        for (let it = element; it; it = it.parentElement) {
            const color = parse(getComputedStyle(it).backgroundColor);
            if (color.length < 4 || color[3] > 0) return color.slice(0, 3);
        }
        return [255, 255, 255];
    };
    const faint = [];
    for (const element of document.querySelectorAll('body *')) {
        const hasText = [...element.childNodes].some((it) => it.nodeType === 3 && it.data.trim());
        if (!hasText || !element.checkVisibility()) continue;
        const pair = [parse(getComputedStyle(element).color).slice(0, 3), behind(element)].map(light);
        const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
        if (ratio < 4.5) faint.push(`${element.className} ${element.innerText}: ${ratio.toFixed(2)}`);
    }
    return faint;
})()";
