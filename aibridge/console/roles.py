"""Roles, and the visitors who have them."""

from attrs import frozen

from ..record.audit import AuditEntry

VIEWER = "viewer"
"""Sees figures, and no content."""
AUDITOR = "auditor"
"""Sees content too: prompts, arguments and results of tools, thoughts. Each look is recorded."""
ADMIN = "admin"
"""Sees everything, and manages keys and budgets."""
SELF = "self"
"""Sees their own sessions and spending, with a gateway key."""

ROLES = (VIEWER, AUDITOR, ADMIN)
"""The roles that can be given, each with the rights of those before it."""


@frozen(kw_only=True)
class Visitor:
    """Somebody who looks at the console or asks its API."""

    name: str
    role: str
    origin: str
    """The address that they come from."""
    way: str
    """The way in which they were recognised: ``none``, ``password``, ``header``, ``jwt`` or ``key``."""
    session: str | None = None
    """The secret of their session, where they have signed in."""

    def may(self, role: str) -> bool:
        """Return True if the visitor has the rights of that role."""
        return self.role in ROLES and role in ROLES and ROLES.index(self.role) >= ROLES.index(role)

    def entry(self, action: str, subject: str, **details: object) -> AuditEntry:
        """Return the audit's entry of what the visitor sees or does."""
        facts = {"role": self.role, "way": self.way, **details}
        return AuditEntry(actor=self.name, origin=self.origin, action=action, subject=subject, details=facts)

    @property
    def sees_content(self) -> bool:
        """True if the visitor may see prompts and the like."""
        return self.may(AUDITOR)
