/** What the plain pages say, by status. */

interface Notice {
  title: string;
  text: string;
}

export const NOTICES = {
  400: {
    title: "That did not arrive in one piece",
    text: "The form was damaged on its way. Please go back and send it again.",
  },
  403: {
    title: "Please sign from this page",
    text: "The form came from another site, so it was not accepted.",
  },
  404: {
    title: "This page is not in the book",
    text: "It may have been torn out, or it was never written.",
  },
  413: {
    title: "That is too large",
    text: "A photo can have up to 5 MiB. Go back to find your words still there, " +
      "and choose a smaller photo.",
  },
  415: {
    title: "That is not our form",
    text: "The guestbook only takes entries from the form on its page.",
  },
  500: {
    title: "Something broke on our side",
    text: "It is not your fault, and it has been noted. Please try again.",
  },
  503: {
    title: "The book cannot be written in right now",
    text: "New entries cannot be stored at the moment. Nothing was lost: " +
      "go back to find your words still there, and try again a little later.",
  },
} as const satisfies Record<number, Notice>;
export type NoticeStatus = keyof typeof NOTICES;
