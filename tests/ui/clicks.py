"""What people do on pages."""

from playwright.sync_api import Locator, Page, expect


def click(page: Page, name: str) -> None:
    """Click the only button of that name."""
    page.get_by_role("button", name=name, exact=True).click()


def dialog(page: Page, title: str) -> Locator:
    """Return the dialog with that title, as soon as it is open."""
    found = page.get_by_role("dialog").filter(has=page.get_by_role("heading", name=title, exact=True))
    expect(found).to_be_visible()
    return found


def choose(page: Page, inside: Locator, label: str, option: str, *, among_several: bool = False) -> None:
    """Choose from a list; one of which several can be chosen stays open until it is closed."""
    inside.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option).click()
    if among_several:
        page.keyboard.press("Escape")
    expect(page.get_by_role("listbox")).to_have_count(0)


def operate(page: Page, on: str, operation: str) -> None:
    """Choose an operation of a row."""
    click(page, f"Operations on {on}")
    dialog(page, f"Operations on {on}").get_by_text(operation, exact=True).click()


def lose(page: Page, title: str, name: str, label: str | None = None) -> None:
    """Confirm a loss by typing the name."""
    asked = dialog(page, title)
    button = asked.get_by_role("button", name=label or title, exact=True)
    expect(button).to_be_disabled()
    asked.get_by_label(f"Type “{name}” to confirm").fill(name)
    button.click()
    expect(asked).to_have_count(0)


def row(page: Page, text: str) -> Locator:
    """Return the row with that text."""
    return page.get_by_role("row").filter(has_text=text)
